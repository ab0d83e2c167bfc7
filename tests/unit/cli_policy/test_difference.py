"""The difference of two policies names fields, not lines."""

from __future__ import annotations

from typing import Any

import pytest

from stream_redrive_cli.policy.difference import changes

RULE = {"id": "one", "when": {"attempt": 1}, "then": "held", "reason": "r"}


def shown(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [line for change in changes(before, after) for line in change.lines()]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {}, []),
        ({"default": {"pace": 0.5}}, {"default": {"pace": 0.5}}, []),
        ({"default": {"pace": 0.5}}, {"default": {"pace": 1}}, ["- default.pace: 0.5", "+ default.pace: 1"]),
        ({}, {"default": {"pace": 1}}, ["+ default.pace: 1"]),
        ({"default": {"pace": 1}}, {}, ["- default.pace: 1"]),
        (
            {"default": {"schema": True}},
            {"default": {"schema": {}}},
            ["- default.schema: true", "+ default.schema: {}"],
        ),
        (
            {"default": {"backoff": {"factor": 2, "max_seconds": 9}}},
            {"default": {"backoff": {"factor": 3, "max_seconds": 9}}},
            ["- default.backoff.factor: 2", "+ default.backoff.factor: 3"],
        ),
        ({}, {"consumers": {"orders:live": {"decoder": "json"}}}, ['+ consumers.orders:live.decoder: "json"']),
        (
            {"default": {"schema": {"properties": {"a.b": {"type": "string"}}}}},
            {"default": {"schema": {"properties": {"a.b": {"type": "number"}}}}},
            [
                '- default.schema.properties."a.b".type: "string"',
                '+ default.schema.properties."a.b".type: "number"',
            ],
        ),
    ],
)
def test_each_changed_field_is_shown(before: dict[str, Any], after: dict[str, Any], lines: list[str]) -> None:
    assert shown(before, after) == lines


def test_a_rule_goes_by_its_id_wherever_it_stands() -> None:
    other = {**RULE, "id": "two"}
    assert shown({"default": {"rules": [RULE]}}, {"default": {"rules": [other, {**RULE, "then": "poison"}]}}) == [
        '- default.rules (order): ["one"]',
        '+ default.rules (order): ["two", "one"]',
        "+ default.rules.two.when.attempt: 1",
        '+ default.rules.two.then: "held"',
        '+ default.rules.two.reason: "r"',
        '- default.rules.one.then: "held"',
        '+ default.rules.one.then: "poison"',
    ]


def test_true_is_not_one() -> None:
    assert shown({"default": {"schema": True}}, {"default": {"schema": 1}}) != []

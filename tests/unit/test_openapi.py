"""The description of the cases API is the one that its routes give."""

import json
from pathlib import Path

from stream_redrive.api.openapi import describe

DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_description_is_up_to_date() -> None:
    assert json.loads(DESCRIPTION.read_text(encoding="utf-8")) == describe(), "run: make openapi"


def test_every_reference_in_the_description_leads_somewhere() -> None:
    text = json.dumps(describe())
    described = describe()["components"]
    for reference in {part.partition('"')[0] for part in text.split('"$ref": "#/components/')[1:]}:
        kind, _, name = reference.partition("/")
        assert name in described[kind]


def test_no_get_takes_a_body_and_every_post_does() -> None:
    operations = [(method, entry) for path in describe()["paths"].values() for method, entry in path.items()]
    assert len(operations) == 7
    assert all(("requestBody" in entry) == (method == "post") for method, entry in operations)

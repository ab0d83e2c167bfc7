"""The documents stay true: what they name is there, and what is there is named."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stream_redrive.core import errors
from stream_redrive.core.incident import Incident
from stream_redrive.core.notices import parse_notice
from stream_redrive.core.policy import SCHEMA_PATH, Policy, parse_policy
from stream_redrive.core.records import Record
from stream_redrive.core.rules import default_rules
from stream_redrive_cli.lab.report import LabReport
from stream_redrive_cli.lab.scenarios import SCENARIOS

REPOSITORY = Path(__file__).parents[2]
FUNCTIONS = REPOSITORY / "functions" / "stream_redrive"
CDK = REPOSITORY / "cdk" / "stream_redrive_cdk"
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "statemachines").glob("*.md")]
)
ARCHITECTURE, COST, OPERATIONS, POLICY, LAB, STATES = (
    REPOSITORY / name
    for name in (
        "docs/architecture.md",
        "docs/cost.md",
        "docs/operations.md",
        "docs/policy.md",
        "docs/lab.md",
        "statemachines/README.md",
    )
)
KEBAB = re.compile(r"[a-z]+(-[a-z]+)+")
# Fields that stand in place of a default in the table of the policy.
NO_DEFAULT = "required"


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text(path), flags=re.MULTILINE | re.DOTALL)


def samples(path: Path, language: str = "json") -> list[str]:
    """The code blocks of a document that are marked with a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(path), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> frozenset[str]:
    """A document's headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings)


def links(path: Path) -> Iterator[str]:
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(path)):
        if not re.match(r"[a-z]+:", target):
            yield target


def strings(path: Path) -> set[str]:
    """The text constants of a module."""
    nodes = ast.walk(ast.parse(text(path)))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def quoted(path: Path) -> set[str]:
    """What a document writes as code within a line."""
    return set(re.findall(r"`([^`\n]+)`", prose(path)))


def rows(path: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the head."""
    section = re.split(rf"^#+ {re.escape(heading)}$", text(path), flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


ALARM_SECTIONS = sorted(name for name in strings(CDK / "alarms.py") if KEBAB.fullmatch(name))


def test_the_alarms_name_sections_at_all() -> None:
    assert {"records-expired", "incident-parked", "delivery-failures"} <= set(ALARM_SECTIONS)


@pytest.mark.parametrize("section", ALARM_SECTIONS)
def test_every_alarm_has_its_section_in_the_runbook(section: str) -> None:
    assert section in anchors(OPERATIONS)
    assert f"(#{section})" in text(OPERATIONS).partition("\n## ")[0], "the list at the top leads there"


@pytest.mark.parametrize("section", ALARM_SECTIONS)
def test_every_section_of_an_alarm_says_what_it_means_what_is_at_stake_and_what_to_do(section: str) -> None:
    parts = re.split(r"^#+ (.+)$", text(OPERATIONS), flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    [body] = [body for heading, body in bodies.items() if heading.lower().replace(" ", "-") == section]
    for question in ("**Means.**", "**About to be lost?**", "**Look at.**", "**Worked**"):
        assert question in body


def metrics() -> set[str]:
    return {
        keyword.arg
        for path in [FUNCTIONS / "bootstrap.py", *(FUNCTIONS / "handlers").glob("*.py")]
        for node in ast.walk(ast.parse(text(path)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "count"
        for keyword in node.keywords
        if keyword.arg
    }


def test_the_runbook_lists_exactly_the_metrics_that_the_functions_write() -> None:
    listed = {name for row in rows(OPERATIONS, "Metrics") for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == metrics()


def fields_of(schema: dict[str, Any], where: str = "") -> Iterator[str]:
    for name, field in schema["properties"].items():
        path = f"{where}{name}"
        inner, items = field.get("properties"), field.get("items", {}).get("properties")
        if inner is None:
            yield path
        else:
            yield from fields_of(field, f"{path}.")
        if items is not None:
            yield from fields_of(field["items"], f"{path}[].")


def documented_fields() -> dict[str, str]:
    return {row[0].strip("`"): row[1].strip("`") for row in rows(POLICY, "Fields")}


def test_the_table_of_the_policy_holds_exactly_the_fields_of_its_schema() -> None:
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    assert set(documented_fields()) == set(fields_of(schema["definitions"]["policy"]))


def test_the_table_of_the_policy_names_the_defaults_that_the_service_has() -> None:
    built_in = json.loads(json.dumps(asdict(Policy())))
    for field, default in documented_fields().items():
        if default == NO_DEFAULT or field.startswith("rules[]"):
            continue
        value = built_in
        for part in field.split("."):
            value = value[part]
        assert json.loads(default) == value, field


def test_every_rule_that_decides_a_verdict_is_explained_where_the_policy_and_the_poison_queue_are() -> None:
    rules = {name for name in strings(FUNCTIONS / "core" / "classifier.py") if KEBAB.fullmatch(name)}
    assert {"attempt-cap", "payload-schema"} <= rules
    listed = {row[0].strip("`") for row in rows(POLICY, "How a record gets its verdict")}
    assert listed == rules | {"default", "your own rules", "the shipped rules"}
    never_quarantined = {"record-age-exceeded", "not-reported", "everything-fails"}
    assert rules - never_quarantined <= quoted(OPERATIONS)


def test_every_shipped_rule_is_explained() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows(POLICY, "The shipped rules")}
    assert listed == {rule.id: rule.then.value for rule in default_rules()}


def states_of(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for inner in [*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])]:
            yield from states_of(inner)


def test_every_state_is_described_and_none_that_is_gone() -> None:
    states = {name for path in STATES.parent.glob("*.asl.json") for name, _ in states_of(json.loads(text(path)))}
    described = {row[0] for heading in ("Tasks", "Choices, waits and ends") for row in rows(STATES, heading)}
    assert described == states


def transitions(machine: dict[str, Any], taken: set[str]) -> int:
    """How many states an execution enters; at the choices named it takes the first way, at others the default."""
    count, name = 0, machine["StartAt"]
    while name:
        state = machine["States"][name]
        count += 1 + sum(transitions(branch, taken) for branch in state.get("Branches", ()))
        name = state["Choices"][0]["Next"] if name in taken else state.get("Next") or state.get("Default")
    return count


def test_the_transitions_that_the_cost_is_reckoned_with_are_those_of_the_machine() -> None:
    machine = json.loads(text(STATES.parent / "redrive.asl.json"))
    redriven, not_redriven = transitions(machine, {"HasTransient"}), transitions(machine, {"HasPoison"})
    assert f"{redriven} where anything is redriven, {not_redriven} where nothing is" in text(COST)
    assert f"({redriven} " in samples(COST, "")[0]


def test_every_error_that_a_state_names_is_explained() -> None:
    named = {
        error
        for path in STATES.parent.glob("*.asl.json")
        for _, state in states_of(json.loads(text(path)))
        for entry in [*state.get("Retry", ()), *state.get("Catch", ())]
        for error in entry["ErrorEquals"]
    }
    assert named <= quoted(STATES)


def tree(root: type[errors.RedriveError] = errors.RedriveError) -> Iterator[str]:
    yield root.__name__
    for branch in root.__subclasses__():
        yield from tree(branch)


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    section = text(ARCHITECTURE).partition("\n## Errors\n")[2].partition("\n## ")[0]
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+)", section.split("```")[1], flags=re.MULTILINE)
    assert drawn == list(tree())


def test_every_stack_output_is_listed_and_none_that_is_gone() -> None:
    outputs = {name for name in strings(CDK / "stack.py") if re.fullmatch(r"([A-Z][a-z]+)+(Arn|Url|Name)", name)}
    assert "OnFailureTopicArn" in outputs
    section = text(ARCHITECTURE).partition("**Stack outputs**")[2].partition("\n\n**")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, flags=re.MULTILINE)) == outputs


def test_every_scenario_and_every_field_of_the_report_is_described() -> None:
    assert [row[0].strip("`") for row in rows(LAB, "Scenarios")] == list(SCENARIOS)
    assert set(LabReport.__dataclass_fields__) <= quoted(LAB)


def test_the_sample_input_is_one_that_a_step_takes() -> None:
    [sample, _] = samples(STATES)
    incident = json.loads(sample)["incident"]
    assert Incident.from_input(incident).to_input() == incident


def test_the_sample_chunk_line_is_one_that_can_be_read_back() -> None:
    [sample] = samples(ARCHITECTURE)
    line = json.loads(sample)
    assert Record.from_line(line).to_line() == line


def test_the_notice_of_the_runbook_is_one_that_the_intake_takes() -> None:
    [sample] = samples(OPERATIONS)
    shard, notice = parse_notice(sample)
    assert shard.shard_id == "shardId-000000000000"
    assert notice.size == 3


def test_the_sample_policy_is_valid() -> None:
    whole, rules = samples(POLICY)
    assert parse_policy(whole, "sample").policy_for("arn:aws:lambda:us-east-1:1:function:orders").max_attempts == 5
    assert [rule.id for rule in parse_policy(rules, "sample").default.rules] == ["closed-order", "ledger-down"]


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    version = tomllib.loads(text(REPOSITORY / "pyproject.toml"))["project"]["version"]
    assert re.findall(r"^## (\S+)", text(REPOSITORY / "CHANGELOG.md"), flags=re.MULTILINE)[0] == version

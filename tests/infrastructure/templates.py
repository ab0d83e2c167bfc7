"""Reads synthesised templates: resources by type, and references as the names of what they refer to."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SynthesisedStack:
    """A synthesised stack: its template, the messages of its annotations, and what is deployed before it."""

    template: Mapping[str, Any]
    messages: tuple[str, ...]
    depends_on: tuple[str, ...]

    def of_type(self, resource_type: str) -> dict[str, Any]:
        """Return the properties of every resource of `resource_type` by logical id."""
        return {
            logical_id: resource.get("Properties", {})
            for logical_id, resource in self.template["Resources"].items()
            if resource["Type"] == resource_type
        }

    def one(self, resource_type: str, name: str | None = None) -> Any:
        """Return the properties of the only resource of `resource_type`, or of the one with this readable name."""
        found = self.of_type(resource_type)
        [properties] = [found[key] for key in found if name is None or readable({"Ref": key}) == name]
        return properties

    def functions(self) -> dict[str, Any]:
        """Return the service's functions by the file of their handler ("capture_records")."""
        return {
            found["Handler"].split(".")[-2]: found
            for found in self.of_type("AWS::Lambda::Function").values()
            if found["Handler"].startswith("stream_redrive.")
        }

    def grants(self) -> dict[str, dict[str, set[str]]]:
        """Return what each role may do: role, action, resources; all by readable names."""
        grants: dict[str, dict[str, set[str]]] = {}
        for policy in self.of_type("AWS::IAM::Policy").values():
            for role in policy["Roles"]:
                actions = grants.setdefault(readable(role), defaultdict(set))
                for statement in policy["PolicyDocument"]["Statement"]:
                    assert statement["Effect"] == "Allow"
                    for action in listed(statement["Action"]):
                        actions[action] |= {readable(resource) for resource in listed(statement["Resource"])}
        return {role: dict(actions) for role, actions in grants.items()}

    def statements(self) -> Iterator[dict[str, Any]]:
        """Yield every statement of every policy of a role."""
        for policy in self.of_type("AWS::IAM::Policy").values():
            yield from policy["PolicyDocument"]["Statement"]


def readable(value: Any) -> str:
    """Return a reference as text: the logical id without the hash that the CDK appends."""
    match value:
        case str():
            return value
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return re.sub(r"[0-9A-F]{8}$", "", name).removeprefix("StreamRedrive")
        case {"Fn::Join": [str(separator), list(parts)]}:
            return separator.join(readable(part) for part in parts)
        case {"Fn::Select": [6, {"Fn::Split": [":", arn]}]}:  # a function's name in its ARN
            return readable(arn)
        case {"Fn::ImportValue": str(name)}:
            return name
    raise ValueError(f"no reference: {value}")


def listed(value: Any) -> list[Any]:
    """Return what CloudFormation writes as one value or as a list."""
    return value if isinstance(value, list) else [value]

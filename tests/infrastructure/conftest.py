"""The synthesised stacks that the infrastructure tests look at."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.infrastructure import apps
from tests.infrastructure.templates import SynthesisedStack


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the synthesised app."""
    outdir = tmp_path_factory.mktemp("assembly")
    apps.build(outdir).synth()
    return outdir


@pytest.fixture(scope="session")
def stacks(assembly: Path) -> Mapping[str, SynthesisedStack]:
    """The stacks of the app by name."""
    manifest = json.loads((assembly / "manifest.json").read_text())
    found = {}
    for name, artifact in manifest["artifacts"].items():
        if artifact["type"] != "aws:cloudformation:stack":
            continue
        metadata = json.loads((assembly / f"{name}.metadata.json").read_text())
        found[name] = SynthesisedStack(
            template=json.loads((assembly / artifact["properties"]["templateFile"]).read_text()),
            messages=tuple(
                f"{entry['type'].removeprefix('aws:cdk:')}: {entry['data']}"
                for entries in metadata.values()
                for entry in entries
                if entry["type"] in ("aws:cdk:info", "aws:cdk:warning", "aws:cdk:error")
            ),
            depends_on=tuple(artifact.get("dependencies", ())),
        )
    return found


@pytest.fixture(scope="session")
def plain(stacks: Mapping[str, SynthesisedStack]) -> SynthesisedStack:
    """The service with its defaults, in front of two consumers known by ARN."""
    return stacks["Plain"]

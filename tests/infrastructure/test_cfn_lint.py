"""cfn-lint finds nothing in what is synthesised."""

from pathlib import Path

import pytest
from cfnlint.api import lint_file  # type: ignore[import-untyped] # it ships no types
from cfnlint.config import ManualArgs  # type: ignore[import-untyped] # it ships no types

# W3005: the CDK writes a DependsOn on a role beside the reference to it; it is redundant, and not ours to leave out.
IGNORED = ManualArgs(ignore_checks=["W3005"])


@pytest.mark.parametrize("stack", ["Bare", "Plain", "Encrypted", "Own", "Twice", "Ours"])
def test_the_template_has_no_finding(assembly: Path, stack: str) -> None:
    assert not [str(found) for found in lint_file(assembly / f"{stack}.template.json", config=IGNORED)]

"""The direction of dependencies, read from the import statements."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infrastructure.templates import REPOSITORY

FUNCTIONS = REPOSITORY / "functions" / "stream_redrive"
CDK = REPOSITORY / "cdk" / "stream_redrive_cdk"

# The Python runtime of Lambda and the Powertools layer bring these.
# https://docs.aws.amazon.com/powertools/python/latest/getting-started/install/
PROVIDED = {"boto3", "botocore", "aws_lambda_powertools", "pydantic", "jmespath", "fastjsonschema"}
# A layer may import what stands after it, and itself.
LAYERS = ["handlers", "bootstrap", "adapters", "core"]
NOT_IN_CORE = {"boto3", "botocore", "aws_lambda_powertools", "os", "time"}


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def modules(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def runtime_nodes(path: Path) -> Iterator[ast.AST]:
    """Yield the nodes of a module but those that only a type checker reads."""
    queue: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            queue += node.orelse
            continue
        yield node
        queue += ast.iter_child_nodes(node)


def imports(path: Path) -> set[str]:
    """Return the full names of what a module imports: `a.b.c` for `from a.b import c`."""
    found = set()
    for node in runtime_nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_there_is_something_to_look_at() -> None:
    assert len(modules(FUNCTIONS)) > 20
    assert len(modules(CDK)) > 10


@pytest.mark.parametrize("path", modules(FUNCTIONS), ids=short)
def test_a_function_imports_only_what_lambda_and_the_layer_bring(path: Path) -> None:
    allowed = PROVIDED | set(sys.stdlib_module_names) | {"stream_redrive"}
    assert {name.partition(".")[0] for name in imports(path)} <= allowed


@pytest.mark.parametrize("path", modules(FUNCTIONS), ids=short)
def test_dependencies_go_from_handlers_over_bootstrap_and_adapters_to_core(path: Path) -> None:
    layer = path.relative_to(FUNCTIONS).with_suffix("").parts[0]
    if layer not in LAYERS:
        return
    below = LAYERS[LAYERS.index(layer) :]
    ours = {layer_of(name) for name in imports(path) if name.startswith("stream_redrive.")}
    assert ours & set(LAYERS) <= set(below)


@pytest.mark.parametrize("layer", ["adapters", "core"])
def test_adapters_and_core_know_neither_settings_nor_observability(layer: str) -> None:
    for path in modules(FUNCTIONS / layer):
        assert not {layer_of(name) for name in imports(path)} & {"settings", "observability"}, path


@pytest.mark.parametrize("path", modules(FUNCTIONS / "core"), ids=short)
def test_core_knows_no_aws_no_environment_and_no_clock(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & NOT_IN_CORE
    clocks = {
        node.attr
        for node in runtime_nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr in {"now", "utcnow", "today", "environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id in {"datetime", "date", "os"}
    }
    assert not clocks


@pytest.mark.parametrize("path", modules(FUNCTIONS / "handlers"), ids=short)
def test_a_handler_decides_nothing(path: Path) -> None:
    assert not [node for node in runtime_nodes(path) if isinstance(node, ast.Try)]


@pytest.mark.parametrize("path", modules(CDK), ids=short)
def test_the_construct_never_imports_the_functions(path: Path) -> None:
    assert not {name for name in imports(path) if name.partition(".")[0] in ("stream_redrive", "stream_redrive_cli")}

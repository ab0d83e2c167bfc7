"""Where the Lambda code and the state machines lie: inside an installed wheel, or in the checkout's own folders."""

import json
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "assets"
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]

FUNCTIONS = _ROOT / "functions"
REDRIVE_DEFINITION = _ROOT / "statemachines" / "redrive.asl.json"
CASE_DEFINITION = _ROOT / "statemachines" / "case.asl.json"
POLICY_SCHEMA = FUNCTIONS / "stream_redrive" / "core" / "policy.schema.json"


def definition(path: Path) -> str:
    """A state machine's definition without its indentation: it takes a third of the room in the template."""
    return json.dumps(json.loads(path.read_text(encoding="utf-8")), separators=(",", ":"))

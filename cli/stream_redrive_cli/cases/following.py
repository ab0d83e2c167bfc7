"""Follows a decision until it is carried out."""

from __future__ import annotations

import time
from typing import Any

from stream_redrive_cli.cases.api import CasesApi
from stream_redrive_cli.cases.showing import event_line
from stream_redrive_cli.talking import tell
from stream_redrive_cli.visible import visible

POLL_SECONDS = 3.0


def follow(cases: CasesApi, case_id: str) -> dict[str, Any]:
    """The case once it is closed; what happens until then is told, an event a line."""
    details = cases.show(case_id)
    told = 0
    while True:
        for event in details["history"][told:]:
            tell(visible(event_line(event)))
        told = len(details["history"])
        case: dict[str, Any] = details["case"]
        if case["status"] != "decided":
            return case
        time.sleep(POLL_SECONDS)
        details = cases.show(case_id)

"""Follows a decision until it is carried out."""

from __future__ import annotations

import time
from typing import Any

from stream_redrive_cli.cases.api import CasesApi
from stream_redrive_cli.cases.showing import event_line
from stream_redrive_cli.talking import tell
from stream_redrive_cli.visible import visible

POLL_SECONDS = 3.0


def follow(cases: CasesApi, case_id: str, seconds: float) -> dict[str, Any]:
    """The case once it is closed, or as it is when the time is over; what happens is told, an event a line."""
    deadline = time.monotonic() + seconds
    details = cases.show(case_id)
    told = 0
    while True:
        for event in details["history"][told:]:
            tell(visible(event_line(event)))
        told = len(details["history"])
        case: dict[str, Any] = details["case"]
        if case["status"] != "decided" or time.monotonic() >= deadline:
            return case
        time.sleep(POLL_SECONDS)
        details = cases.show(case_id)

"""Faults the lab can switch on: an operation answers with an error until told otherwise."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import uuid4

FaultMoment = Literal["before", "after"]


@dataclass(frozen=True)
class Fault:
    """Which calls fail, and how.

    `operations` empty: every operation of the service. `resource`: text the request must hold (a table
    name, a key prefix). `principal`: text the caller's ARN must hold (a role or function name). `times`:
    how many calls fail, None for all until it is lifted. `moment`: `before` the call takes effect, or
    `after` it (the work is done, the answer is lost).
    """

    service: str
    code: str
    operations: tuple[str, ...] = ()
    resource: str = ""
    principal: str = ""
    status: int = 400
    message: str = "injected by the lab"
    times: int | None = None
    moment: FaultMoment = "before"
    id: str = field(default_factory=lambda: uuid4().hex)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Fault:
        """Raises TypeError for a field that isn't one of ours."""
        return cls(**{**raw, "operations": tuple(raw.get("operations", ()))})

    def matches(self, service: str, operation: str, principal: str, request_text: str) -> bool:
        return (
            self.service == service
            and (not self.operations or operation in self.operations)
            and self.resource in request_text
            and self.principal in principal
        )


class FaultBook:
    """The faults in force, and how often each has struck; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}
        self._struck: dict[str, int] = {}

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults[fault.id] = fault
            self._struck.setdefault(fault.id, 0)

    def lift(self, fault_id: str) -> None:
        """End one fault; its count stays readable."""
        with self._lock:
            self._faults.pop(fault_id, None)

    def lift_all(self) -> None:
        with self._lock:
            self._faults.clear()

    def struck(self) -> dict[str, int]:
        with self._lock:
            return dict(self._struck)

    def strike(self, service: str, operation: str, principal: str, request_text: str) -> Fault | None:
        """The fault this call meets, counted; None when it goes through."""
        with self._lock:
            for fault in self._faults.values():
                if fault.times is not None and self._struck[fault.id] >= fault.times:
                    continue
                if fault.matches(service, operation, principal, request_text):
                    self._struck[fault.id] += 1
                    return fault
        return None


class CallCounter:
    """AWS calls by caller and operation, such as `{"start-redrive": {"stepfunctions.StartExecution": 2}}`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, dict[str, int]] = {}

    def count(self, caller: str, service: str, operation: str) -> None:
        with self._lock:
            calls = self._calls.setdefault(caller, {})
            name = f"{service}.{operation}"
            calls[name] = calls.get(name, 0) + 1

    def snapshot(self) -> dict[str, dict[str, int]]:
        with self._lock:
            return {caller: dict(calls) for caller, calls in self._calls.items()}

"""Reads the counters that the event source mapping stand-in keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MappingCounters:
    """One mapping. `settled_until`: the epoch second before which all that arrived is dealt with, or None."""

    uuid: str
    function_name: str
    source_arn: str
    settled_until: float | None
    counts: Mapping[str, int]
    error: str | None

    def settled_since(self, moment: float) -> bool:
        return self.settled_until is not None and self.settled_until > moment


@dataclass(frozen=True)
class Counters:
    """All mappings of the lab."""

    ready: bool
    mappings: tuple[MappingCounters, ...]

    def of_source(self, source_arn: str) -> MappingCounters | None:
        return next((mapping for mapping in self.mappings if mapping.source_arn == source_arn), None)


def read_counters(path: Path) -> Counters | None:
    """The counters as last written; None before the first time."""
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Counters(ready=raw["ready"], mappings=tuple(_mapping(entry) for entry in raw["mappings"]))


def _mapping(entry: Mapping[str, Any]) -> MappingCounters:
    return MappingCounters(
        uuid=entry["uuid"],
        function_name=entry["function_arn"].partition(":function:")[2],
        source_arn=entry["source_arn"],
        settled_until=entry["settled_until"],
        counts=entry["counts"],
        error=entry["error"],
    )

"""The policy in force: read once a minute, and never given up for an invalid one."""

from collections.abc import Callable
from datetime import datetime, timedelta

from stream_redrive.core.errors import PolicyInvalid
from stream_redrive.core.policy import PolicyBook, parse_policy
from stream_redrive.core.ports import PolicySource

MAX_AGE = timedelta(seconds=60)


class PolicyCache:
    """Holds the newest valid policy for a minute."""

    def __init__(self, source: PolicySource, report: Callable[[PolicyInvalid], None]) -> None:
        """report: told of each invalid version that is passed over, whenever the policy is read."""
        self._source = source
        self._report = report
        self._held: PolicyBook | None = None
        self._read_at: datetime | None = None

    def current(self, now: datetime) -> PolicyBook:
        """The newest valid version, at most a minute old; the service's own defaults if none was ever valid."""
        if self._held is None or self._read_at is None or now - self._read_at >= MAX_AGE:
            self._held = self._newest_valid()
            self._read_at = now
        return self._held

    def _newest_valid(self) -> PolicyBook:
        for version, text in self._source.versions():
            if self._held is not None and version == self._held.version:
                return self._held
            try:
                return parse_policy(text, version)
            except PolicyInvalid as exc:
                self._report(exc)
        return self._held or parse_policy("{}", "built-in")

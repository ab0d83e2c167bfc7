"""Approvers: who may decide about a case, and which callers count as one person."""

import fnmatch
import re
from collections.abc import Sequence

_GLOB = re.compile(r"[*?\[]")
_ROLE_SESSION = re.compile(r"arn:[^:]+:sts::(\d+):assumed-role/([^/]+)/([^/]+)")
_USER = re.compile(r"arn:[^:]+:iam::(\d+):user/(?:.*/)?([^/]+)")


class Approvers:
    """The approvers that a policy names: "role/<glob>", "role/<glob>/<session glob>", "user/<glob>"."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """patterns: none lets whoever may call decide."""
        self._names = [re.compile(fnmatch.translate(p)).match for p in patterns if not _names_session(p)]
        self._sessions = [re.compile(fnmatch.translate(p)).match for p in patterns if _names_session(p)]

    def person(self, arn: str) -> str | None:
        """Who a caller counts as: equal for two callers that may be one person; None for whoever is no approver.

        The sessions of a role are one person: their names are the caller's own choice. Only a pattern with a session
        tells them apart, and one for the whole role outranks it.

        Args:
            arn: of the signed caller, as AWS gives it.
        """
        account, name, session = _caller(arn)
        if not self._names and not self._sessions:
            return f"{account}:{name}"
        if any(matches(name) for matches in self._names):
            return f"{account}:{name}"
        if session is not None and any(matches(f"{name}/{session}") for matches in self._sessions):
            return f"{account}:{name}/{session}"
        return None


def match_one_person_only(patterns: Sequence[str]) -> bool:
    """Whether two people can never be found among these approvers."""
    left = [pattern for pattern in patterns if pattern.rpartition("/")[0] not in patterns]
    return len(left) == 1 and not _GLOB.search(left[0])


def _names_session(pattern: str) -> bool:
    return pattern.count("/") > 1


def _caller(arn: str) -> tuple[str, str, str | None]:
    """Account, name as the patterns have it, and session of a caller."""
    if found := _ROLE_SESSION.fullmatch(arn):
        account, role, session = found.groups()
        return account, f"role/{role}", session
    if found := _USER.fullmatch(arn):
        account, user = found.groups()
        return account, f"user/{user}", None
    # The root user, and federated users, who choose their names: one person an account.
    return (arn.split(":") + [""] * 5)[4], arn.split(":", 5)[-1].partition("/")[0], None

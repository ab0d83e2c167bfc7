"""Cuts port calls: a run that dies just before a call, or after the call took effect and before its answer came."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from stream_redrive.core.errors import ServiceUnreachable

P = TypeVar("P")


class Cuts:
    """Counts the calls to all ports it guards, from 1, and cuts those that are named.

    after_effect: by the number of the call, whether the cut comes after the call took effect.
    """

    def __init__(self, after_effect: Mapping[int, bool] | None = None) -> None:
        self._after_effect = dict(after_effect or {})
        self.calls = 0

    def guard(self, port: P) -> P:
        """The port, its calls counted and cut."""
        return cast(P, _Guarded(port, self._call))

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        after = self._after_effect.get(self.calls)
        if after is False:
            raise ServiceUnreachable(f"call {self.calls} was cut before it took effect")
        answer = method(*arguments)
        if after:
            raise ServiceUnreachable(f"call {self.calls} was cut after it took effect")
        return answer


class _Guarded:
    def __init__(self, port: object, call: Callable[..., Any]) -> None:
        self._port = port
        self._call = call

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._port, name)
        if not callable(member):
            return member
        return lambda *arguments: self._call(member, *arguments)

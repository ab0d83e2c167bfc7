"""Runs that work on the same ports at the same time, one call after the other, in an order that a seed gives."""

import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

P = TypeVar("P")


class Interleaving:
    """Lets one run at a time make its next port call; which one, the seed says."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._turn = threading.Condition()
        self._waiting: set[int] = set()
        self._allowed: int | None = None
        self._alive: set[int] = set()
        self._here = threading.local()

    def guard(self, port: P) -> P:
        """The port, each of its calls made when it is its run's turn."""
        return cast(P, _Guarded(port, self._await_turn))

    def run(self, *runs: Callable[[], None]) -> None:
        """Run them to their ends; an error of one is raised when all have ended."""
        errors: list[BaseException] = []

        def work(number: int, body: Callable[[], None]) -> None:
            self._here.number = number
            try:
                body()
            except BaseException as exc:  # noqa: BLE001 - raised again below, by the test's own thread
                errors.append(exc)
            finally:
                with self._turn:
                    self._alive.discard(number)
                    self._turn.notify_all()

        self._alive = set(range(len(runs)))
        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(runs)]
        for thread in threads:
            thread.start()
        self._direct()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _direct(self) -> None:
        with self._turn:
            while True:
                assert self._turn.wait_for(lambda: self._allowed is None and self._waiting >= self._alive, timeout=30)
                if not self._alive:
                    return
                self._allowed = self._random.choice(sorted(self._alive))
                self._waiting.discard(self._allowed)
                self._turn.notify_all()

    def _await_turn(self) -> None:
        number = getattr(self._here, "number", None)
        if number is None:
            return
        with self._turn:
            self._waiting.add(number)
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self._allowed == number, timeout=30)
            self._allowed = None


class _Guarded:
    def __init__(self, port: object, await_turn: Callable[[], None]) -> None:
        self._port = port
        self._await_turn = await_turn

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._port, name)
        if not callable(member):
            return member

        def call(*arguments: Any, **named: Any) -> Any:
            self._await_turn()
            return member(*arguments, **named)

        return call

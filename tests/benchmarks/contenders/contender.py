"""What a benchmark asks of an SDK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import cycle
from timeit import Timer
from typing import Any, Protocol

from tests.benchmarks.flags import Flag, User, Work


@dataclass(frozen=True, slots=True)
class Call:
    """A statement in the words of an SDK, so that it can be timed with no call around it."""

    statement: str
    names: dict[str, Any]
    empty: Callable[[], object] = field(default=lambda: None)  # makes room for more events

    def value(self) -> Any:
        found: list[Any] = []
        Timer(f"found.append({self.statement})", globals={**self.names, "found": found}).timeit(1)
        return found[0]

    def timer(self) -> Callable[[int], float]:
        """Seconds of so many repetitions."""
        return Timer(self.statement, globals=self.names).timeit


class Contender(Protocol):
    """An SDK with its data, at work."""

    def call(self, work: Work) -> Call:
        """The evaluation, for a user that is built before where the SDK has an object for it."""

    def all_flags(self, user: User) -> Call:
        """Every flag that it has, for a user."""

    def values(self, found: Any) -> dict[str, Any]:
        """The values in the result of that, by flag."""

    def new_user(self, user: User) -> Call:
        """Building what it takes for a user."""


def users(work: Work, make: Callable[[User], Any]) -> tuple[str, dict[str, Any]]:
    """How a statement names the user of this work, made by the SDK beforehand, and the names that it needs."""
    if work.many:
        return "next(users)", {"users": cycle([make(user) for user in work.users()])}
    return "user", {"user": make(work.user)}


Maker = Callable[[Sequence[Flag]], AbstractContextManager[Contender]]

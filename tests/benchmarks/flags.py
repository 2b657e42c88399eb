"""The work that all contenders do, in words that belong to none of them.

A contender translates a ``Flag`` into its own format, with whatever operator of its own means the same. Users and
values are the same for all; only who gets what in a percentage rollout depends on each SDK's own hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

User = Mapping[str, Any]

USER: User = {
    "key": "user-4711",
    "name": "Ada Lovelace",
    "country": "fr",
    "plan": "pro",
    "age": 36,
    "mail": "ada@example.org",
}
SHARES = (("a", 30), ("b", 30), ("c", 40))  # percent


@dataclass(frozen=True, slots=True)
class Condition:
    """That a user's attribute is any of the values, or compares with the one value.

    The test is one of ``any``, ``none``, ``ends with``, ``contains``, ``above`` and ``at least``.
    """

    attribute: str
    test: str
    values: tuple[Any, ...]


Rule = tuple[Condition, ...]

FIVE_RULES: tuple[Rule, ...] = (  # in each the first condition holds and the second does not, but in the last one
    (Condition("country", "any", ("fr",)), Condition("age", "above", (40,))),
    (Condition("plan", "any", ("pro", "team")), Condition("mail", "ends with", ("@example.com",))),
    (Condition("age", "at least", (18,)), Condition("country", "any", ("de", "at", "ch"))),
    (Condition("mail", "contains", ("@",)), Condition("plan", "none", ("pro",))),
    (Condition("country", "none", ("de",)), Condition("plan", "any", ("pro", "team"))),
)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    A ``boolean`` is true for all, ``half`` is true for half of the users, ``thirds`` gives users one of the texts of
    ``SHARES``, ``rules`` is true for whom one of ``FIVE_RULES`` holds, and ``segment`` for its ``members``.
    """

    key: str
    kind: str
    loud: bool = False  # whether its evaluations send events
    size: int = 0

    @property
    def members(self) -> list[str]:
        return [f"member-{index}" for index in range(self.size)]

    @property
    def values(self) -> tuple[object, ...]:
        """What it can give."""
        return tuple(value for value, _ in SHARES) if self.kind == "thirds" else (True, False)

    @property
    def segment(self) -> str:
        """The key of its segment."""
        return f"{self.key}-members"


@dataclass(frozen=True, slots=True)
class Work:
    """The evaluation of a flag for a user, with or without an event."""

    name: str
    flag: Flag
    user: User
    expected: tuple[object, ...]  # any of these
    many: int = 0  # users that take turns, one in every call, instead of the one

    def users(self) -> Iterator[User]:
        return ({**USER, "key": f"user-{index}", "mail": f"user-{index}@example.org"} for index in range(self.many))


def works(many: int) -> Iterator[Work]:
    """Everything that is measured flag by flag, with so many users where they take turns."""
    for kind, title in (
        ("boolean", "boolean"),
        ("half", "rollout"),
        ("thirds", "rollout of three texts"),
        ("rules", "5 rules of 2 conditions"),
    ):
        for loud in (False, True):
            flag = Flag(f"{kind}-{'loud' if loud else 'quiet'}", kind, loud)
            expected = flag.values if kind in ("half", "thirds") else (True,)
            yield Work(f"{title}{', event' if loud else ''}", flag, USER, expected)
    another = "boolean, event, another user in every call"
    yield Work(another, Flag("boolean-many", "boolean", loud=True), USER, (True,), many)
    for size in (100, 10_000):
        flag = Flag(f"segment-{size}", "segment", size=size)
        yield Work(f"segment of {size}, user absent", flag, USER, (False,))
        last = {**USER, "key": flag.members[-1]}
        yield Work(f"segment of {size}, user last", flag, last, (True,))


def thousand() -> list[Flag]:
    """An environment: of ten flags eight are boolean, one is a rollout and one has rules."""
    kinds = ("boolean",) * 8 + ("half", "rules")
    return [Flag(f"flag-{index}", kinds[index % 10]) for index in range(1000)]

"""The environment that is synchronised: so many flags of about 1.5 KB of JSON each."""

from __future__ import annotations

import json
from typing import Any

from fbshared.testing import FeatBitServer, condition, flag, rule
from fbshared.testing.environment import message

USED = 50  # flags that a worker uses
# Milliseconds, in 2023. The server stamps what is put with the time of day, or, where it has newer items, one
# millisecond after those: fb-python-sdk, which rounds to milliseconds, takes two such for one and drops the later.
VERSION = 1_700_000_000_000


def key_of(number: int) -> str:
    return f"flag-{number:05d}"


def raw_flag(number: int, text: str = "0", version: int = VERSION) -> dict[str, Any]:
    """A flag that serves ``text`` to everybody whom no rule names; its version is in milliseconds."""
    places = condition("country", "IsOneOf", ["de", "at", "ch", "li", "lu"])
    ages = condition("age", "BiggerThan", "40")
    rules = [rule(text, places, ages), rule("other", condition("mail", "EndsWith", "@example.com"), places)]
    targets = [("other", [f"user-{number}-{each}" for each in range(2)])]
    return flag(
        key_of(number),
        "string",
        [text, "other", "off"],
        serve=text,
        off="off",
        targets=targets,
        rules=rules,
        insights_enabled=False,
        updated_at=version,
        tags=["checkout", "web"],
    )


def used(flags: int) -> list[str]:
    """The keys of the flags that a worker uses, spread over all."""
    return [key_of(number * flags // USED) for number in range(min(USED, flags))]


def full(flags: int, number: int = 0) -> str:
    """A full data-sync message in which all flags serve a number, and are newer than in those of lower ones."""
    return message("full", [raw_flag(each, str(number), VERSION + number * 100_000) for each in range(flags)])


def server_with(flags: int) -> FeatBitServer:
    """A server with so many flags."""
    return FeatBitServer(json.loads(full(flags)))

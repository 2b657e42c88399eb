"""What nothing written in Python could undercut: the operations that no evaluation can do without.

Each operation is timed alone, in the same process and minute as the contenders, less the time of an empty loop. The
limit of a piece of work is the sum of the operations that it needs: to look whether there is newer data, find the flag,
hash where percentages decide, look at an attribute for each condition, and for an event pack the user, take the time,
and copy the checked record into the mapped file. A limit is not reachable: it leaves no room for deciding which of
them to do.
"""

from __future__ import annotations

import mmap
from _md5 import md5
from collections.abc import Mapping
from statistics import median
from time import time_ns
from typing import Any
from zlib import crc32

import msgpack

from fbshared import FBUser
from tests.benchmarks.contenders.contender import Call
from tests.benchmarks.contenders.field import DICT, PREPARED
from tests.benchmarks.flags import FIVE_RULES, USER, thousand

_CALL = {"call": 1, "word": 1, "lookup": 1}
_EVENT = {"clock": 1, "checksum": 1, "copy": 1, "store": 1}
_CONDITIONS = sum(map(len, FIVE_RULES))
_ALL = [flag.kind for flag in thousand()]

NEEDED: dict[str, Mapping[str, int]] = {  # work -> how often it needs which operation
    "boolean": _CALL,
    "rollout": {**_CALL, "hash": 1},
    "rollout of three texts": {**_CALL, "hash": 1},
    "5 rules of 2 conditions": {**_CALL, "condition": _CONDITIONS},
    "segment of 100, user absent": {**_CALL, "member": 1},
    "segment of 100, user last": {**_CALL, "member": 1},
    "segment of 10000, user absent": {**_CALL, "member": 1},
    "segment of 10000, user last": {**_CALL, "member": 1},
    "all flags of 1000": {
        "call": 1,
        "word": 1,
        "assign": len(_ALL),
        "hash": _ALL.count("half"),
        "condition": _ALL.count("rules") * _CONDITIONS,
    },
}


def operations() -> dict[str, Call]:
    """Each operation as a statement, and ``nothing``."""
    prepared = FBUser.from_dict(USER)
    memory = memoryview(mmap.mmap(-1, 1 << 16))
    record = prepared.packed + bytes(60)
    members = frozenset(f"member-{index}" for index in range(10_000))

    def call(key: str, user: Any, default: Any) -> Any:
        return default

    names = {
        "call": call,
        "key": "flag-4711",
        "flags": {f"flag-{index}": index for index in range(10_000)},
        "found": {},
        "user": dict(USER),
        "words": memory.cast("Q"),
        "memory": memory,
        "record": record,
        "end": 8 + len(record),
        "members": members,
        "md5": md5,
        "from_bytes": int.from_bytes,
        "pack": msgpack.Packer().pack,
        "crc32": crc32,
        "time_ns": time_ns,
    }
    statements = {
        "nothing": "pass",
        "call": "call(key, user, None)",
        "word": "words[0] != 0",
        "lookup": "flags.get(key)",
        "hash": "from_bytes(md5(key.encode()).digest()[:4], 'little') < 1_000_000",
        "condition": "user.get('country') == 'de'",
        "member": "key in members",
        "assign": "found[key] = True",
        "pack": "pack(user)",
        "clock": "time_ns()",
        "checksum": "crc32(record)",
        "copy": "memory[8:end] = record",
        "store": "words[0] = 0",
    }
    return {name: Call(statement, names) for name, statement in statements.items()}


def costs(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Seconds of each operation, from the samples of ``operations``."""
    nothing = median(times["nothing"])
    return {name: max(median(samples) - nothing, 0.0) for name, samples in times.items() if name != "nothing"}


def limit(work: str, contender: str, costs: Mapping[str, float]) -> float | None:
    """The limit of a piece of work of ours, in seconds; None for what has none."""
    name, event, _ = work.partition(", event")
    needed = dict(NEEDED.get(name, {}))
    if not needed or contender not in (DICT, PREPARED):
        return None
    if event:
        needed |= _EVENT
        if contender == DICT:
            needed["pack"] = 1
    return sum(costs[operation] * times for operation, times in needed.items())

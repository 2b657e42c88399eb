"""What an evaluation costs, counted instead of timed: the same on every machine and under any load.

    python -m tests.benchmarks.cost            what it is now, beside the baseline
    python -m tests.benchmarks.cost --write    make that the baseline of this interpreter's minor version

Two things are counted for one call: the instructions of the interpreter that run, and the functions, of Python and of
C, that are called. Both are exact, so a line that is added to the path of every evaluation shows at once. What they
don't show is work inside of a C function, like packing a larger user: that is for the benchmark, which times it.

The baseline is ``costs.json``. Write it anew, with each interpreter that we support, when a change is worth its cost or
makes something cheaper; ``test_cost`` fails for either until that is done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.benchmarks.contenders import featbit
from tests.benchmarks.contenders.contender import Call
from tests.benchmarks.contenders.field import DICT, PREPARED
from tests.benchmarks.flags import USER, thousand, works

BASELINE = Path(__file__).with_name("costs.json")
VERSION = "{}.{}".format(*sys.version_info)
REPEATED = 20  # the least of so many: now and then a call begins a new chunk of the ring, or a thread runs

_HARNESS = frozenset((__file__, timeit.__file__, "<timeit-src>"))

Cost = dict[str, int]


def costs() -> dict[str, Cost]:
    """The cost of every piece of work, by its name and how the user is given."""
    found = {}
    chosen = [work for work in works(0) if not work.name.endswith("another user in every call")]
    flags = list({work.flag.key: work.flag for work in chosen}.values())
    for name in (DICT, PREPARED):
        with featbit.ours(flags, prepared=name == PREPARED) as made:
            for work in chosen:
                found[f"{work.name} ({name})"] = cost(made.call(work), REPEATED)
        with featbit.ours(thousand(), prepared=name == PREPARED) as made:
            found[f"all flags of 1000 ({name})"] = cost(made.all_flags(USER), 2)
    return found


def cost(call: Call, repeated: int) -> Cost:
    """The least instructions and calls of so many repetitions, after as many that warm up."""
    timer = call.timer()
    timer(repeated)
    call.empty()
    instructions = min(_instructions(timer) for _ in range(repeated))
    calls = min(_calls(timer) for _ in range(repeated))
    return {"instructions": instructions, "calls": calls}


def _calls(timer: Callable[[int], float]) -> int:
    count = 0

    def profile(frame: FrameType, event: str, function: object) -> None:
        nonlocal count
        if event in ("call", "c_call") and frame.f_code.co_filename not in _HARNESS:
            # Only old versions of msgpack show their calls.
            count += not type(getattr(function, "__self__", None)).__module__.startswith("msgpack")

    sys.setprofile(profile)
    try:
        timer(1)
    finally:
        sys.setprofile(None)
    return count


def _traced(timer: Callable[[int], float]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename in _HARNESS:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        timer(1)
    finally:
        sys.settrace(None)
    return count


def _monitored(timer: Callable[[int], float]) -> int:
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]  # since 3.12
    tool, event = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION
    count = 0

    def instruction(code: CodeType, _: int) -> Any:
        nonlocal count
        if code.co_filename in _HARNESS:
            return monitoring.DISABLE
        count += 1
        return None

    monitoring.use_tool_id(tool, "cost")
    try:
        monitoring.register_callback(tool, event, instruction)
        monitoring.set_events(tool, event)
        timer(1)
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    return count


# Tracing instructions misses some in 3.12 and 3.13, where monitoring them came.
_instructions = _monitored if sys.version_info >= (3, 12) else _traced


def baseline() -> dict[str, Cost]:
    """Of this minor version."""
    found: dict[str, Cost] = json.loads(BASELINE.read_text()).get(VERSION, {})
    return found


def write(found: dict[str, Cost]) -> None:
    """Make this the baseline of this minor version."""
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    known[VERSION] = found
    ordered = dict(sorted(known.items(), key=lambda item: tuple(map(int, item[0].split(".")))))
    BASELINE.write_text(json.dumps(ordered, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="make it the baseline of this interpreter")
    parser.add_argument("--json", action="store_true", help="print what was counted as JSON and nothing else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fbt-") as directory:
        os.environ["FBSHARED_DIR"] = directory
        found = costs()
    if options.json:
        print(json.dumps(found))
        return 0
    known = baseline() if BASELINE.exists() else {}
    print(f"{f'Python {VERSION}':55}{'instructions':>18}{'calls':>16}")
    for work, now in found.items():
        before = known.get(work, {})
        cells = [f"{before.get(what, '-')} -> {count}" for what, count in now.items()]
        print(f"{work:55}{cells[0]:>18}{cells[1]:>16}")
    if options.write:
        write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

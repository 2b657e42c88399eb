"""python -m tests.benchmarks: how fast fbshared is, beside other SDKs on the same machine in the same minutes.

It prints a table: for each piece of work and each contender the median of all rounds with the 10th and 90th
percentile, how many times better than fb-python-sdk that is, for fbshared also how many times the sum of the
unavoidable operations (see ``limits``), and whether a goal was met. Compare ratios: they hold between machines, times
do not. SDKs that are not installed are left out and named; ``pip install -e . --group bench`` installs them all. It
takes some ten minutes. Choose a quiet machine: on a busy one the percentiles lie far apart; the last line tells the
load.

For the README, of one run:

    python -m tests.benchmarks --json tests/benchmarks/results.json --plot tests/benchmarks/results.png
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from textwrap import fill

from tests.benchmarks.contenders.field import versions
from tests.benchmarks.rows import Options, Report, document, load, machine, report_of, table

HELP_ONLY = """\
work with this in its name, as the table shows it; of a host's one part: import, residents, patches, synchronisation,
failover, kills"""
BENCHMARKS = ("evaluation", "threads", "host", "publishing", "delivery")  # modules


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.plot:
        from tests.benchmarks.plot import draw  # where it is missing, that is known before minutes are spent
    if options.redraw:
        found = json.loads(options.redraw.read_text())
        report = report_of(found)
    else:
        taken = datetime.now(timezone.utc).isoformat(timespec="seconds")
        before = load()
        report = _measured(Options(options.quick, options.only))
        host = machine() | {"load before": before, "load after": load()}
        found = document(report, taken=taken, machine=host, versions=versions())
    print(shown(report))
    print(", ".join(f"{name} {value}" for name, value in (found["machine"] | found["versions"]).items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot:
        draw(report, options.plot)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help=HELP_ONLY)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, measures nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the evaluations; needs matplotlib")
    parser.add_argument("--redraw", type=Path, metavar="FILE", help="show what --json wrote, and measure nothing")
    return parser


def _measured(options: Options) -> Report:
    report = Report()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fbt-", dir=memory) as directory:
        os.environ["FBSHARED_DIR"] = directory
        for name in BENCHMARKS:
            report.add(import_module(f"tests.benchmarks.{name}").measure(options))
    return report


def shown(report: Report) -> str:
    """The table, with what a reader must know below it."""
    parts = [table(report.rows), *(fill(note, 120) for note in (*report.notes, *report.left_out))]
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    sys.exit(main())

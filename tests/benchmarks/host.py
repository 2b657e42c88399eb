"""What a host with many workers pays: connections, threads, memory, imports, synchronisation, patches, failover.

Real gunicorn workers against the local server, which runs in the benchmark's own process; fb-python-sdk's beside them
where a figure is compared. Who measures is in the worker: a thread that evaluates every ``GAP`` seconds and notes on
the monotonic clock, which all processes share, when it saw what.
"""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.parts import deaths, patches, starting, synchronisation
from tests.benchmarks.parts.part import GAP, NAMES, Size
from tests.benchmarks.rows import REFERENCE, Options, Report, Row

PARTS = {
    "import": starting.imports,
    "residents": starting.residents,
    "patches": patches.patches,
    "synchronisation": synchronisation.synchronisation,
    "failover": deaths.failover,
    "kills": deaths.killed,
}


NOTES = """\
{workers} gunicorn workers. A worker that waits for a patch evaluates every {gap:g} ms in a thread beside the server's;
the time is from the moment the server is told to send until the slowest worker's evaluation is new. Median and
percentiles of patches are those of rounds, each with fresh workers. Listeners of fb-python-sdk are told by the thread
that received the patch; those of fbshared by one that looks ten times a second, so that the last of many workers is
told after about a tenth of a second. Load and the number of processors decide these figures: compare ratios.

A limit is the least work that the figure contains, done in one process with nothing around it. A patch: its text
through a connection, reading and packing it, storing a word, and the time until as many workers, who only look at that
word as often, have seen it. A full synchronisation: reading its text, packing the flags, one copy. A follower's memory:
its flags, packed. A recycled worker: opening and mapping a file and unpacking one flag. An import: msgpack and the
standard library's modules for JSON, logs, threads and mapped files. Failover: a websocket's handshake, without the wait
until somebody looks whether there still is a leader. Delivery: unpacking each event, putting its user and time into
a text that is known, and posting requests of so many. Counts, lost events and what listeners are told have none;
processor time and requests have the row without patches, or of a follower, beside them."""


def measure(options: Options) -> Report:
    report = Report()
    size = Size(quick=options.quick)
    for name, part in PARTS.items():
        if options.wants(f"host: {name}"):
            part(size, report)
    # A block for each work, also where the contenders were measured one after the other.
    works = [row.work for row in report.rows]
    report.rows = [_compared(row, report.rows) for row in sorted(report.rows, key=lambda row: works.index(row.work))]
    if report.rows:
        notes = NOTES.format(workers=size.workers, gap=GAP * 1000)
        report.notes += [f"host: {' '.join(note.split())}" for note in notes.split("\n\n")]
    if REFERENCE not in NAMES:
        report.left_out.append(f"{REFERENCE} is left out: No module named 'fbclient'.")
    return report


def _compared(row: Row, rows: list[Row]) -> Row:
    """The row, with how many times less it is than the reference's in the same work."""
    their = [each.median for each in rows if (each.work, each.contender) == (row.work, REFERENCE)]
    return replace(row, ratio=their[0] / row.median) if their and row.median else row

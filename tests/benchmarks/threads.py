"""How many evaluations a second several threads of one process make together.

With a global interpreter lock the best that can be had is what one thread does; an SDK whose read path takes a lock of
its own gets less with every thread. Contenders take turns in each round; queues and rings are emptied all the time, as
a leader does, so that nothing is dropped.
"""

from __future__ import annotations

import gc
import threading
from statistics import median
from time import perf_counter

from tests.benchmarks.contenders.contender import Call
from tests.benchmarks.contenders.field import DICT, PREPARED, at_work, makers
from tests.benchmarks.flags import USER, Flag, Work
from tests.benchmarks.rows import REFERENCE, Options, Report, Row, Verdict

NAME = "threads"
THREADS = (1, 2, 4, 8)
FLAT = 0.8  # of what one thread does

_CHUNK = 1e-3  # seconds of work between two looks at the clock


def measure(options: Options) -> Report:
    """Rows for each number of threads and contender, in evaluations a second of all threads."""
    contenders, left_out = makers()
    report = Report(left_out=left_out)
    flags = [Flag("boolean-quiet", "boolean"), Flag("boolean-loud", "boolean", loud=True)]
    rounds, seconds = (1, 0.01) if options.quick else (7, 0.2)
    with at_work(contenders, flags) as made:
        for flag in flags:
            work = Work(f"boolean{', event' if flag.loud else ''}", flag, USER, (True,))
            if not any(options.wants(_title(work, count)) for count in THREADS):
                continue
            calls = {name: contender.call(work) for name, contender in made.items()}
            found: dict[tuple[int, str], list[float]] = {}
            for _ in range(rounds):
                for name, call in calls.items():
                    for count in THREADS:
                        found.setdefault((count, name), []).append(throughput(call, count, seconds))
            _add(report, options, work, found)
    return report


def _title(work: Work, count: int) -> str:
    return f"{NAME}: {work.name}, {count} thread{'s' if count > 1 else ''}"


def _add(report: Report, options: Options, work: Work, found: dict[tuple[int, str], list[float]]) -> None:
    for (count, name), samples in sorted(found.items(), key=lambda item: item[0][0]):
        title = _title(work, count)
        if not options.wants(title):
            continue
        ratio = None
        if (count, REFERENCE) in found:
            ratio = median(own / other for own, other in zip(samples, found[count, REFERENCE], strict=True))
        verdicts: tuple[Verdict, ...] = ()
        if name in (DICT, PREPARED) and count > 1:
            kept = median(own / one for own, one in zip(samples, found[1, name], strict=True))
            verdicts = (Verdict(f"flat (at least {FLAT} of one thread, is {kept:.2f})", kept >= FLAT),)
        work_name = title.removeprefix(f"{NAME}: ")
        report.rows.append(Row.of(NAME, work_name, name, "1/s", samples, ratio=ratio, verdicts=verdicts))


def throughput(call: Call, threads: int, seconds: float) -> float:
    """Calls a second of so many threads together."""
    timer = call.timer()
    chunk = max(int(_CHUNK / min(timer(1), timer(1))), 1)
    gate = threading.Barrier(threads + 1)
    done = [0] * threads
    ends = [0.0] * threads

    def run(number: int) -> None:
        timer = call.timer()
        gate.wait()
        deadline = perf_counter() + seconds
        while perf_counter() < deadline:
            timer(chunk)
            call.empty()
            done[number] += chunk
        ends[number] = perf_counter()

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    gc.collect()
    gc.disable()  # before the timers do, which turn it on again where they found it on
    try:
        for thread in running:
            thread.start()
        gate.wait()
        started = perf_counter()
        for thread in running:
            thread.join()
    finally:
        gc.enable()
    return sum(done) / (max(ends) - started)

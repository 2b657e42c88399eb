"""How long one evaluation takes, beside other SDKs in the same process and the same minute.

Each contender has the same flags in its own format, no network, and one thread; what it does for an event is done as
far as the caller's thread does it. Values are compared before anything is timed. The time is that of a call; an object
for the user, where an SDK has one, is made before, and what that takes is a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.benchmarks import limits
from tests.benchmarks.contenders.contender import Call, Contender
from tests.benchmarks.contenders.field import at_work, makers
from tests.benchmarks.flags import USER, Work, thousand, works
from tests.benchmarks.goals import constant, verdicts
from tests.benchmarks.rounds import Samples, alternate
from tests.benchmarks.rows import REFERENCE, Options, Report, Row

NAME = "evaluation"
ALL = "all flags of 1000"
READ = "all flags of 1000, every value read"
NEW_USER = "making the user"
LIMITS = "unavoidable operations"

NOTES = """\
What a call does besides finding the value differs. fbshared and fb-python-sdk: with an event, one full event for every
call, in the ring that outlives the process, or in a queue. LaunchDarkly: one object for every call in a queue; its
thread, which is not running here, would summarise them. Unleash: counts every call in its engine, also without events;
the event is an impression in a queue. GrowthBook: calls the application back, for exposures once per user and
variation. Statsig: keeps a user's exposure to a gate once in a while, so with one user there is hardly an event; with
another user in every call there is one each.

The user of "fbshared, dict", fb-python-sdk and Unleash is a dict that is read in every call; that of the others is made
before: see the row of what making it takes. An instance of GrowthBook has one user at a time.

In a rollout every SDK hashes in its own way; FeatBit's hash is MD5, which all its SDKs must share. Statsig has texts in
dynamic configs only, whose objects are made in Python.

All flags: fbshared, fb-python-sdk and LaunchDarkly answer with values and reasons, of which fbshared makes an object
when it is asked for; Statsig answers with JSON for a browser; Unleash and GrowthBook have no such call and are asked
flag by flag. In the second of the two rows the caller goes on to read every value.

A limit is the sum of the operations that no evaluation can do without, measured in the same run."""


def measure(options: Options) -> Report:
    """Rows for each work and contender, in microseconds."""
    contenders, left_out = makers()
    report = Report(notes=[" ".join(note.split()) for note in NOTES.split("\n\n")], left_out=left_out)
    rounds = 3 if options.quick else 300
    costs = _limits(report, rounds)
    chosen = [work for work in works(300 if options.quick else 30_000) if options.wants(f"{NAME}: {work.name}")]
    flags = {work.flag.key: work.flag for work in chosen}
    with at_work(contenders, list(flags.values())) as made:
        for work in chosen:
            calls = {name: _checked(name, contender, work) for name, contender in made.items()}
            most = work.many // (rounds + 1) if work.many else 1_000_000
            _add(report, work.name, alternate(calls, rounds, most), costs)
        if options.wants(f"{NAME}: {NEW_USER}"):
            calls = {name: contender.new_user(USER) for name, contender in made.items()}
            _add(report, NEW_USER, alternate(calls, rounds), costs)
    if options.wants(f"{NAME}: {ALL}") or options.wants(f"{NAME}: {READ}"):
        with at_work(contenders, thousand()) as made:
            calls = {name: _all_flags(name, contender) for name, contender in made.items()}
            reading = {name: _reading(calls[name], contender) for name, contender in made.items()}
            for work, each in ((ALL, calls), (READ, reading)):
                if options.wants(f"{NAME}: {work}"):
                    _add(report, work, alternate(each, min(rounds, 50)), costs)
    report.rows = constant(report.rows)
    return report


def _limits(report: Report, rounds: int) -> dict[str, float]:
    samples = alternate(limits.operations(), rounds)
    costs = limits.costs(samples.times)
    for operation, seconds in costs.items():
        report.rows.append(Row.of(NAME, LIMITS, operation, "us", [seconds * 1e6]))
    return costs


def _checked(name: str, contender: Contender, work: Work) -> Call:
    call = contender.call(work)
    value = call.value()
    if value not in work.expected:
        raise RuntimeError(f"{name} answers {value!r} for {work.name}, not one of {work.expected!r}")
    return call


def _all_flags(name: str, contender: Contender) -> Call:
    call = contender.all_flags(USER)
    values = contender.values(call.value())
    true = sum(value is True for value in values.values())
    least = sum(flag.kind != "half" for flag in thousand())
    if len(values) != len(thousand()) or not least < true < len(values):
        raise RuntimeError(f"{name} answers {len(values)} of all flags, of which {true} are true")
    return call


def _reading(call: Call, contender: Contender) -> Call:
    return Call(f"values({call.statement})", {**call.names, "values": contender.values})


def _add(report: Report, work: str, samples: Samples, costs: Mapping[str, float]) -> None:
    samples.tell(report, work)
    for name, times in samples.times.items():
        limit = limits.limit(work, name, costs)
        report.rows.append(
            Row.of(
                NAME,
                work,
                name,
                "us",
                [seconds * 1e6 for seconds in times],
                ratio=samples.ratios(name, REFERENCE),
                limit=None if limit is None else limit * 1e6,
                verdicts=verdicts(work, name, samples),
            )
        )

"""The demo for real, on sample data and on an awkward environment, and how it chooses what to show."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fbshared.demo.choice import choose
from fbshared.demo.steps import count_events
from fbshared.demo.story import Story
from fbshared.demo.traffic import USER_PREFIX
from fbshared.errors import MessageError

needs_gunicorn = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None, reason="the demo needs gunicorn, which is not installed"
)


def flag(key: str, *values: str, kind: str = "string", **fields: Any) -> dict[str, Any]:
    variations = [{"id": f"{key}-{n}", "name": value, "value": value} for n, value in enumerate(values)]
    return {"key": key, "name": key, "variationType": kind, "variations": variations, **fields}


def demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fbshared", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150)


def there() -> set[str]:
    return {str(path) for path in Path("/dev/shm").glob("fbshared-demo-*")}


def left_behind(before: set[str]) -> set[str]:
    """What appeared since and stays: other demos may run at the same time."""
    left = there() - before
    deadline = time.monotonic() + 30
    while left & there() and time.monotonic() < deadline:
        time.sleep(0.05)
    return left & there()


@needs_gunicorn
def test_the_demo_keeps_every_promise(shared_directory: Path) -> None:
    """One connection, every worker sees the flip, no event lost, nothing left, in seconds also on a busy machine."""
    before = there()
    done = demo()

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert "4 processes evaluate" in done.stdout
    assert "FeatBit sees 1 connection," in done.stdout
    assert "0 events lost" in done.stdout
    assert "BROKEN" not in done.stdout
    assert float(re.findall(r"in ([\d.]+) s\.$", done.stdout.strip())[0]) < 40
    assert set() == left_behind(before)
    assert [] == list(shared_directory.iterdir())


@needs_gunicorn
def test_the_demo_shows_an_awkward_environment(tmp_path: Path) -> None:
    """With archived flags and a single variation it makes a flag that can be flipped, and shows that."""
    file = tmp_path / "awkward.json"
    flags = [
        flag("gone", "a", "b", isArchived=True, updatedAt="2024-01-01T00:00:00Z"),
        flag("only one/ü", "8", kind="number", isEnabled=False, insightsEnabled=False, rules=None),
    ]
    file.write_text(json.dumps({"featureFlags": flags, "segments": []}))
    done = demo("--data", str(file))

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "'only one/ü'" in done.stdout


@needs_gunicorn
def test_the_demo_cleans_up_when_it_is_stopped() -> None:
    """After SIGTERM in the middle of it there is no process and no file left."""
    before = there()
    command = [sys.executable, "-u", "-m", "fbshared", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "FeatBit sees" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    assert 128 + signal.SIGTERM == process.returncode
    assert set() == left_behind(before)


def test_a_file_without_flags_is_refused_in_one_line(tmp_path: Path) -> None:
    """Where there is nothing to show the demo says so, with exit code 2."""
    file = tmp_path / "empty.json"
    file.write_text('{"featureFlags": [], "segments": []}')
    done = demo("--data", str(file))

    assert 2 == done.returncode
    assert re.fullmatch(r"fbshared: no flag to show: .*\n", done.stderr)


@pytest.mark.parametrize(("arrived", "code"), [(["1", "2"], 0), (["1", "2", "2", "cut-off"], 0), (["1"], 1)])
def test_a_lost_event_breaks_a_promise(arrived: list[str], code: int) -> None:
    """An answered user whose event did not arrive makes the exit code 1; a duplicate and an unanswered one do not."""
    answers = [SimpleNamespace(user=USER_PREFIX + number, pid=1) for number in ("1", "2")]
    events = [SimpleNamespace(kind="variation", user={"keyId": USER_PREFIX + number}) for number in arrived]
    stage: Any = SimpleNamespace(
        story=Story(),
        server=SimpleNamespace(events=events, event_count=len(events), connections=[]),
        traffic=SimpleNamespace(answers=answers, refused=[], stop=lambda: None),
        wait=lambda condition: condition(),
    )
    count_events(stage)

    assert code == stage.story.end()


def test_the_first_flag_with_two_meanings_is_chosen() -> None:
    """Archived flags, flags without variations and equal values are passed over."""
    chosen = choose(
        [
            None,
            flag("gone", "a", "b", isArchived=True),
            flag("none"),
            flag("equal", "1", "1.0", kind="number"),
            flag("good", "x", "x", "y"),
        ]
    )

    assert ("good", "good-0", "good-2") == (chosen.key, chosen.before, chosen.after)
    assert ("x", "y") == (chosen.value(chosen.before), chosen.value(chosen.after))


@pytest.mark.parametrize(
    ("kind", "only", "other"),
    [
        ("boolean", "true", "false"),
        ("boolean", "FALSE", "true"),
        ("number", "0", "1"),
        ("number", "7", "0"),
        ("json", "[]", '{"flipped": true}'),
        ("string", "a", "a (flipped)"),
        (None, "a", "a (flipped)"),
    ],
)
def test_a_flag_with_one_value_gets_another(kind: Any, only: str, other: str) -> None:
    """A single variation is joined by one of the same type with another value."""
    chosen = choose([flag("single", only, kind=kind)])

    assert only == chosen.value(chosen.before)
    assert other == chosen.value(chosen.after)


def test_everybody_gets_the_chosen_variation() -> None:
    """The flag as served has no targets, no rules, is on, and sends events."""
    served = choose([flag("f", "x", "y", targetUsers=[1], rules=[1], isEnabled=False)]).serving("f-1")

    assert [] == served["targetUsers"] == served["rules"]
    assert [{"id": "f-1", "rollout": [0, 1], "exptRollout": 1}] == served["fallthrough"]["variations"]
    assert (True, True, False) == (served["isEnabled"], served["insightsEnabled"], served["isArchived"])


def test_an_environment_without_living_flags_is_refused() -> None:
    """There is a reason in words when no flag can be shown."""
    with pytest.raises(MessageError, match="no flag to show"):
        choose([flag("gone", "a", isArchived=True), {"key": "broken", "variations": [7]}])

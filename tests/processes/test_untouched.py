"""Evaluation goes on, whatever happens to the server, the leader or the directory, and asks nobody for anything."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fbshared.testing import flag

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew, Process

HERE = Path(__file__).parent
LONGEST_CALL = 3.0  # seconds; a busy machine may take a process off its core for so long, a network would take longer


def _serve(value: str) -> dict[str, object]:
    return flag("load", "string", ["one", "two"], serve=value)


def _load(workers: list[Process], directory: Path) -> list[Path]:
    """Let them evaluate from now on."""
    paths = [directory / f"record-{worker.pid}" for worker in workers]
    for worker, path in zip(workers, paths, strict=True):
        worker.ask("start", "load", str(path), f"w{worker.pid}", 500)
    _await_more(paths)
    return paths


def _await_more(paths: list[Path]) -> None:
    """Wait until each process has evaluated many times more."""
    wanted = {path: (path.stat().st_size if path.exists() else 0) + 2000 for path in paths}
    deadline = time.monotonic() + 30
    while any(not path.exists() or path.stat().st_size < size for path, size in wanted.items()):
        assert time.monotonic() < deadline, "evaluation stands still"
        time.sleep(0.01)


def _finish(workers: list[Process]) -> None:
    """End the load; no call gave a wrong value or took long."""
    reports = [worker.ask("finish") for worker in workers]

    assert [[] for _ in workers] == [report["wrong"] for report in reports]
    assert max(report["longest"] for report in reports) < LONGEST_CALL


def test_the_server_is_down(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """While FeatBit is down values stay, also for processes that start then, and all events arrive when it is back."""
    options = {"streaming_first_retry_delay": 0.2}
    workers = crew.start(3, **options)
    paths = _load(workers, tmp_path)
    crew.leader()
    server.stop()
    workers += (late := crew.start(1, **options))
    paths += _load(late, tmp_path)
    _await_more(paths)

    assert ["one"] * 4 == [worker.ask("value", "load") for worker in workers]

    server.put_flag(_serve("two"))
    server.start()

    assert ["two"] * 4 == [worker.ask("wait_value", "load", "two", 20.0) for worker in workers]

    _finish(workers)

    assert set() == crew.lacking(crew.recorded(paths))
    assert crew.until(lambda: server.open_connections == 1, 20)


def test_nobody_leads(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """Without any process that may lead, followers evaluate and queue; a later leader delivers and brings news."""
    leader = crew.one()
    workers = crew.start(2, role="follower")
    paths = _load(workers, tmp_path)
    crew.leader()
    crew.dismiss(leader)
    _await_more(paths)  # nobody leads

    assert ["one"] * 2 == [worker.ask("value", "load") for worker in workers]
    assert [1, 1] == [worker.ask("threads") - 1 for worker in workers], "a follower has no thread but the test's"

    server.put_flag(_serve("two"))
    crew.one()

    assert ["two"] * 2 == [worker.ask("wait_value", "load", "two", 20.0) for worker in workers]

    _finish(workers)

    assert set() == crew.lacking(crew.recorded(paths))


def test_a_hung_leader_is_in_nobodys_way(crew: Crew, tmp_path: Path) -> None:
    """While the leader stands still, evaluation and a new process go on as before."""
    leader = crew.one()
    crew.leader()
    workers = crew.start(2)
    paths = _load(workers, tmp_path)
    leader.signal(signal.SIGSTOP)
    try:
        late = crew.start(1)
        paths += _load(late, tmp_path)
        _await_more(paths)  # nobody answers

        assert ["one"] * 3 == [worker.ask("value", "load") for worker in [*workers, *late]]

        _finish([*workers, *late])
    finally:
        leader.signal(signal.SIGCONT)

    assert set() == crew.lacking(crew.recorded(paths))


def _remove(crew: Crew) -> None:
    """Remove all that is shared, also what a process puts there meanwhile."""

    def removed() -> bool:
        try:
            shutil.rmtree(crew.path.parent)
        except FileNotFoundError:
            return False  # another one removed a file
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False
        return True

    assert crew.until(removed, 10, 0.0)


@pytest.mark.parametrize("followers", [0, 2])
def test_the_directory_is_removed(crew: Crew, server: FeatBitServer, tmp_path: Path, followers: int) -> None:
    """All processes meet again in one new region with one leader, evaluation goes on, and no event is lost."""
    workers = crew.start(4)
    workers += crew.start(followers, role="follower") if followers else []
    paths = _load(workers, tmp_path)
    crew.leader()
    identity = crew.control().identity
    _remove(crew)
    values = [worker.ask("value", "load") for worker in workers]
    _await_more(paths)

    def together() -> bool:
        try:
            leading = [worker.ask("leads") for worker in workers].count(True)
            rings = len(crew.files("ring."))
            return crew.control().identity != identity and 1 == leading and rings >= len(workers)
        except (FileNotFoundError, NotADirectoryError):
            return False

    assert ["one"] * len(workers) == values
    assert crew.until(together, 20, 0.1), crew.files()
    assert crew.leader()

    server.put_flag(_serve("two"))

    assert ["two"] * len(workers) == [worker.ask("wait_value", "load", "two", 20.0) for worker in workers]

    _await_more(paths)
    _finish(workers)

    assert set() == crew.lacking(crew.recorded(paths))
    assert crew.until(lambda: server.open_connections == 1, 20)
    # The old region's leader looks once a second whether its directory is still there.
    assert max(crew.overlaps(), default=0.0) < 3.0


def test_the_directory_cannot_be_made_again(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """As long as something stands in the directory's place evaluation goes on; afterwards all is as before."""
    workers = crew.start(2)
    paths = _load(workers, tmp_path)
    crew.leader()
    _remove(crew)
    crew.path.parent.write_text("in the way")
    time.sleep(2.0)  # everybody has noticed

    assert ["one"] * 2 == [worker.ask("value", "load") for worker in workers]

    crew.path.parent.unlink()
    server.put_flag(_serve("two"))

    assert ["two"] * 2 == [worker.ask("wait_value", "load", "two", 20.0) for worker in workers]

    _finish(workers)

    assert set() == crew.lacking(crew.recorded(paths))


def test_an_evaluation_makes_no_system_call(crew: Crew, tmp_path: Path) -> None:
    """A warmed thread that evaluates 20,000 times, events included, makes no system call in between."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    if subprocess.run([strace, "-o", os.devnull, "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    crew.one()
    crew.leader()
    trace = tmp_path / "trace"
    command = [sys.executable, str(HERE / "traced.py"), crew.settings(role="follower")]
    done = subprocess.run(
        [strace, "-f", "-o", str(trace), *command], check=True, capture_output=True, text=True, timeout=150
    )
    lines = trace.read_text().splitlines()
    marks = [number for number, line in enumerate(lines) if " getppid()" in line]

    assert "done\n" == done.stdout
    assert 2 == len(marks)
    assert [] == lines[marks[0] + 1 : marks[1]]
    assert 1 == len({line.split()[0] for line in lines}), "one thread, or the trace proves nothing"


@pytest.mark.parametrize("mode", ["quiet", "exceptions"])
def test_threads_and_signal_handlers_put_at_once(crew: Crew, tmp_path: Path, mode: str) -> None:
    """No event whose call returned is lost when eight threads and a handler meet, struck by exceptions or not."""
    crew.one()
    crew.leader()
    record = tmp_path / "record"
    settings = crew.settings(role="follower", events_max_in_queue=100_000)
    command = [sys.executable, str(HERE / "storm.py"), settings, str(record), mode]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=150)
    report = json.loads(done.stdout)
    keys = crew.recorded([record])

    assert [0, 0] == [report["alive"], report["dropped"]], report
    # Of thousands of exceptions one may strike in the moment in which a ring that another one struck is given back.
    assert report["locked"] <= (2 if mode == "exceptions" else 0), report
    assert report["handled"] > 200
    assert len(keys) > 1500
    assert (mode == "exceptions") == (report["struck"] > 200), report
    assert set() == crew.lacking(keys)
    assert crew.until(lambda: len(crew.files("ring.")) <= 1, 20), "only the leader's is left"

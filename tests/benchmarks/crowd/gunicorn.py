"""A gunicorn with many workers, each of which does what the benchmark asks for; see ``worker``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.crowd.worker import CONTENDERS

ROOT = Path(__file__).parents[3]
LIMIT = 120.0  # seconds that a worker may take for anything


class Voice:
    """The line to one worker."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(LIMIT)
        self._connection = connection
        self._lines = connection.makefile("rw")
        self.pid = 0
        self.about: dict[str, Any] = {}

    def tell(self, name: str, *arguments: Any) -> None:
        """Ask for something; ``answer`` waits for it."""
        self._lines.write(json.dumps([name, arguments]) + "\n")
        self._lines.flush()

    def answer(self) -> Any:
        answer = json.loads(self._lines.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, name: str, *arguments: Any) -> Any:
        self.tell(name, *arguments)
        return self.answer()

    def kill(self) -> None:
        """End this worker at once, wherever it is; it has ended when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            while self._connection.recv(4096):
                pass

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def cpu(self) -> float:
        """Seconds of processor time of this worker, all threads, since its start."""
        return time.clock_gettime(~self.pid << 3 | 2)  # the kernel's name for the clock of a process

    def private(self) -> int:
        """Bytes of memory that this worker shares with nobody."""
        return private_memory(self.pid)


class Crowd:
    """Gunicorn and its workers, whose clients all have data."""

    def __init__(self, voices: list[Voice]) -> None:
        self.voices = voices

    def all(self, name: str, *arguments: Any) -> list[Any]:
        """Ask all workers for the same, at once; their answers."""
        for voice in self.voices:
            voice.tell(name, *arguments)
        return [voice.answer() for voice in self.voices]

    def leader(self) -> Voice:
        """The worker that leads."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            for voice in self.voices:
                if voice.ask("leads"):
                    return voice
            time.sleep(0.05)
        raise RuntimeError("nobody leads")

    def followers(self) -> list[Voice]:
        leader = self.leader()
        return [voice for voice in self.voices if voice is not leader]

    def cpu(self) -> float:
        """Seconds of processor time of all workers together."""
        return sum(voice.cpu() for voice in self.voices)


def private_memory(pid: int) -> int:
    """Bytes of memory that a process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


@contextlib.contextmanager
def crowd(contender: str, server: Any, key: str, workers: int, **options: Any) -> Iterator[Crowd]:
    """Workers of a contender whose clients have evaluated ``key`` once."""
    assert contender in CONTENDERS
    settings = {
        "contender": contender,
        "secret": server.secret,
        "event_url": server.event_url,
        "streaming_url": server.streaming_url,
        "key": key,
        "options": options,
    }
    with tempfile.TemporaryDirectory(prefix="fbt-") as directory:
        path = Path(directory) / "benchmark.socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(workers)
            listener.settimeout(LIMIT)
            voices: list[Voice] = []
            popen = _gunicorn(directory, path, workers)
            try:
                voices.extend(Voice(listener.accept()[0]) for _ in range(workers))
                for voice in voices:
                    voice.tell("begin", settings)
                for voice in voices:
                    voice.about = voice.answer()
                    voice.pid = voice.about["pid"]
                yield Crowd(voices.copy())
            except BaseException:
                print((Path(directory) / "log").read_text()[-4000:], file=sys.stderr)
                raise
            finally:
                _end(popen)
                for voice in voices:
                    voice.close()


def _gunicorn(directory: str, path: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gunicorn", "--workers", str(workers), "--bind", f"unix:{directory}/http.socket"]
    command += ["--timeout", "0", "--graceful-timeout", "5", "tests.benchmarks.crowd.worker:application"]
    environment = os.environ | {"FBSHARED_BENCHMARK": str(path), "PYTHONPATH": str(ROOT)}
    with (Path(directory) / "log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _end(popen: subprocess.Popen[bytes]) -> None:
    popen.terminate()
    try:
        popen.wait(15)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()

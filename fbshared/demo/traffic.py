"""Users who ask the demo's workers for a flag, each user once, over connections that stay open."""

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote

PAUSE = 0.005  # seconds between two requests of one connection
USER_PREFIX = "demo-user-"
LOOKS = 40  # connections to try for one to a worker that is not yet well visited


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said for one user, with the monotonic seconds of the request and of its answer."""

    asked: float
    at: float
    user: str
    pid: int
    value: Any
    variation: str | None
    reason: str
    is_leader: bool
    evaluations: int


class Traffic:
    """Threads that keep every worker busy: each holds one connection and never asks for a user twice."""

    def __init__(self, port: int, flag: str, *, workers: int, per_worker: int = 2) -> None:
        self.answers: list[Answer] = []
        self.cut_off = 0
        self.refused: list[str] = []
        self._port = port
        self._path = f"/?flag={quote(flag, safe='')}&user="
        self._workers = workers
        self._even = per_worker
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards the two below
        self._visitors: Counter[int] = Counter()
        self._numbers = count(1)
        self._threads = [
            threading.Thread(target=self._run, name=f"demo-traffic-{i}", daemon=True)
            for i in range(workers * per_worker)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every request that was sent get its answer, then end the threads."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._visit()
            except (OSError, http.client.HTTPException):
                # The worker was killed under us: this request is no evaluation that returned.
                self.cut_off += 1
                self._stopping.wait(PAUSE)

    def _visit(self) -> None:
        """Stay with one worker until it goes away, or until another one has nobody to talk to."""
        connection, pid = self._connect()
        try:
            while not self._stopping.wait(PAUSE) and not self._crowded(pid):
                self._ask(connection)
        finally:
            connection.close()
            with self._lock:
                self._visitors[pid] -= 1
                self._visitors += Counter()  # forgets the workers that nobody visits

    def _crowded(self, pid: int) -> bool:
        with self._lock:
            return len(self._visitors) < self._workers and self._visitors[pid] > self._even

    def _connect(self) -> tuple[http.client.HTTPConnection, int]:
        """A connection to a worker which has the fewest visitors, as far as one can find it."""
        for look in range(LOOKS):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            pid = self._ask(connection).pid
            with self._lock:
                least = 0 if len(self._visitors) < self._workers else min(self._visitors.values())
                # The kernel chooses the worker, not we: grow content with time.
                if self._visitors[pid] <= least + look // 10 or look == LOOKS - 1:
                    self._visitors[pid] += 1
                    return connection, pid
            connection.close()
        raise AssertionError("the last look always returns")

    def _ask(self, connection: http.client.HTTPConnection) -> Answer:
        with self._lock:
            user = f"{USER_PREFIX}{next(self._numbers)}"
        asked = time.monotonic()
        connection.request("GET", self._path + user)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            self.refused.append(f"{response.status} {response.reason}")
            raise http.client.HTTPException(self.refused[-1])
        answer = Answer(asked, time.monotonic(), user, **json.loads(body))
        self.answers.append(answer)
        return answer

"""The application of the benchmark's workers: a client, and a thread that does what the benchmark asks for.

gunicorn imports it in each worker. It connects to the benchmark's socket and answers one JSON line with another. What
it measures it measures with ``CLOCK_MONOTONIC``, which all processes of a host share.
"""

from __future__ import annotations

import importlib
import json
import logging
import mmap
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

USER = {"key": "user-4711", "name": "Ada Lovelace", "country": "fr", "plan": "pro", "mail": "ada@example.org"}
WORK = 0.001  # seconds of one request


def fbshared_client(settings: dict[str, Any]) -> Any:
    """A client that stands for the lead, as in any application."""
    import fbshared

    urls = settings["event_url"], settings["streaming_url"]
    return fbshared.FBClient(fbshared.Config(settings["secret"], *urls, **settings["options"]), start_wait=60)


def imported_only(settings: dict[str, Any]) -> Any:
    """No client: what the package costs that is imported and not used."""
    import fbshared

    return type("Nobody", (), {"variation": lambda *_: settings and fbshared.__version__})()


def reference_client(settings: dict[str, Any]) -> Any:
    """A client of fb-python-sdk, as its manual makes one."""
    from fbclient.client import FBClient
    from fbclient.config import Config

    logging.disable(logging.INFO)
    urls = settings["event_url"], settings["streaming_url"]
    return FBClient(Config(settings["secret"], *urls, **settings["options"]), start_wait=60)


CONTENDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "fbshared": fbshared_client,
    "fb-python-sdk": reference_client,
    "import": imported_only,
}


class Worker:
    """Does what it is asked for. Times are nanoseconds of the monotonic clock."""

    def __init__(self, settings: dict[str, Any]) -> None:
        importlib.import_module({"fb-python-sdk": "fbclient.client"}.get(settings["contender"], "fbshared"))
        began = time.monotonic_ns()
        self.client = CONTENDERS[settings["contender"]](settings)
        until = time.monotonic() + 60
        while self.value(settings["key"]) is None and time.monotonic() < until:
            time.sleep(0.001)
        self.ready = [began, time.monotonic_ns()]

    def value(self, key: str) -> Any:
        return self.client.variation(key, USER, None)

    def about(self) -> dict[str, Any]:
        """Who this is, and when its client was asked for and first answered."""
        threads = [each.name for each in threading.enumerate() if each.name not in ("MainThread", "probe")]
        return {"pid": os.getpid(), "ready": self.ready, "threads": threads}

    def leads(self) -> bool:
        return bool(getattr(self.client, "is_leader", False))

    def watch(self) -> None:
        """From now on, note when a message was there, and when it was published."""
        from fbshared.core.session import Session
        from fbshared.shm.publisher import Publisher

        self.stages: list[list[Any]] = []
        Session.received = self._noted("received", Session.received)  # type: ignore[method-assign]
        Publisher.publish = self._noted("published", Publisher.publish)  # type: ignore[method-assign]

    def _noted(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            began = time.monotonic_ns()
            try:
                return function(*arguments, **options)
            finally:
                self.stages.append([stage, began, time.monotonic_ns()])

        return noted

    def noted(self) -> list[list[Any]]:
        """Stage, beginning and end of what happened since the last time."""
        stages, self.stages = self.stages, []
        return stages

    def use(self, keys: Iterable[str]) -> list[Any]:
        """Evaluate once each."""
        return [self.value(key) for key in keys]

    def follow(self, key: str, last: int, gap: float, seconds: float) -> list[list[int]]:
        """Evaluate every ``gap`` seconds; when which number was seen first, up to the last."""
        return _looked(lambda: int(self.value(key)), last, gap, seconds)

    def look(self, path: str, last: int, gap: float, seconds: float) -> list[list[int]]:
        """As ``follow``, at a word in a mapped file and nothing else."""
        words = mapped(path)
        return _looked(lambda: words[0], last, gap, seconds)

    def listen(self, key: str) -> None:
        """From now on, note when a listener is told which number."""
        self.heard: list[list[int]] = []
        self.news = threading.Condition()

        def changed(_: str, value: str) -> None:
            with self.news:
                self.heard.append([int(value), time.monotonic_ns()])
                self.news.notify_all()

        self.listener = self.client.flag_tracker.add_flag_value_maybe_changed_listener(key, USER, changed)

    def told(self, last: int, seconds: float) -> list[list[int]]:
        """What the listener was told until the last number, as ``follow`` answers it; it is not called any more."""
        with self.news:
            self.news.wait_for(lambda: bool(self.heard) and self.heard[-1][0] >= last, seconds)
        self.client.flag_tracker.remove_flag_change_notifier(self.listener)
        return self.heard

    def count(self, key: str, name: str, rate: float, path: str) -> None:
        """Evaluate so many times a second, each time for another user of this name, until the end of this process.

        How many calls have returned stands in the first word of the file, which outlives it.
        """
        words = mapped(path)
        variation = self.client.variation
        began, done = time.monotonic(), 0
        while True:
            while done < (time.monotonic() - began) * rate:
                variation(key, USER | {"key": f"{name}-{done}"}, None)
                done += 1
                words[0] = done
            time.sleep(1 / rate)

    def pace(self, keys: list[str], rate: float, seconds: float) -> int:
        """Evaluate the keys in turn so many times a second."""
        began = time.monotonic()
        done = 0
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * rate)
            for number in range(done, due):
                self.value(keys[number % len(keys)])
            done = max(done, due)
            time.sleep(max(began + (done + 1) / rate - time.monotonic(), 0.0))
        return done

    def requests(self, key: str, pause: float, seconds: float) -> list[int]:
        """Requests of a millisecond of work each, with a pause between them; how long each took."""
        loops = _loops()
        took = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic_ns()
            self.value(key)
            _work(loops)
            took.append(time.monotonic_ns() - began)
            time.sleep(pause)
        return took

    def put(self, key: str, count: int) -> list[int]:
        """Evaluate so many times for as many users, each with its event, as fast as it goes; from when until when."""
        variation = self.client.variation
        began = time.monotonic_ns()
        for number in range(count):
            variation(key, USER | {"key": f"user-{number}"}, None)
        return [began, time.monotonic_ns()]

    def batch(self, events: int) -> None:
        """Deliver so many events in one request from now on."""
        from fbshared.leader import delivery

        delivery.BATCH = events

    def stop(self) -> None:
        self.client.stop()


def mapped(path: str) -> memoryview:
    """The words of a file, as all who map it see them."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


def _looked(number: Callable[[], int], last: int, gap: float, seconds: float) -> list[list[int]]:
    """Look at a growing number every ``gap`` seconds; what it was and when, each time it had grown, up to the last."""
    seen: list[list[int]] = []
    newest, until = -1, time.monotonic() + seconds
    while newest < last and time.monotonic() < until:
        found = number()
        if found > newest:
            newest = found
            seen.append([found, time.monotonic_ns()])
        time.sleep(gap)
    return seen


def _work(loops: int) -> None:
    for _ in range(loops):
        pass


def _loops() -> int:
    """How many rounds are a millisecond, in the best of some tries."""
    best = min(_seconds_of(100_000) for _ in range(20))
    return int(WORK / best * 100_000)


def _seconds_of(loops: int) -> float:
    began = time.perf_counter()
    _work(loops)
    return time.perf_counter() - began


def serve(path: str) -> None:
    """Answer the benchmark until it is gone."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        with connection.makefile("rw") as lines:
            worker: Worker | None = None
            for line in lines:
                name, arguments = json.loads(line)
                try:
                    if name == "begin":
                        worker = Worker(*arguments)
                        answer = worker.about()
                    else:
                        answer = getattr(worker, name)(*arguments)
                except Exception as error:  # noqa: BLE001 - the benchmark wants to know, whatever it is
                    answer = {"error": repr(error)}
                lines.write(json.dumps(answer) + "\n")
                lines.flush()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """What gunicorn serves; nobody asks for it."""
    start_response("204 No Content", [])
    return []


if "FBSHARED_BENCHMARK" in os.environ and "gunicorn" in sys.modules:
    threading.Thread(target=serve, args=(os.environ["FBSHARED_BENCHMARK"],), name="probe", daemon=True).start()

"""A process of the tests: holds one client and does what the test says, a line of JSON at a time.

Run as ``python worker.py SETTINGS``, with the settings in JSON. Every process of a test, a forked child too, connects
to the test's socket, says its process id, and answers ``[command, arguments]`` with ``[result, error]``.
"""

import ctypes
import importlib
import json
import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hindrance  # beside this file
import ways  # the same, and before fbshared: its fork hooks

from fbshared import Config, FBClient, FileDataSource, WebSocketConfig
from fbshared.members import join
from fbshared.watcher import watcher
from fbshared.wiring import duty_settings, member_settings

if TYPE_CHECKING:
    from fbshared.leader.settings import DutySettings

COMMANDS: dict[str, Callable[..., Any]] = {}


def user_of(key: str) -> dict[str, Any]:
    """A user of six attributes."""
    return {"key": key, "name": f"Name of {key}", "country": "nl", "plan": "pro", "age": 42, "beta": True}


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    COMMANDS[function.__name__] = function
    return function


class Here:
    """What this process has."""

    client: FBClient
    ears: Any
    settings: dict[str, Any]
    running: "list[Loop]" = []  # noqa: RUF012 - one for the process


@command
def value(key: str, user: str = "someone", default: Any = None) -> Any:
    return Here.client.variation(key, user_of(user), default)


@command
def all_values(user: str = "someone") -> dict[str, Any]:
    states = Here.client.get_all_latest_flag_variations(user_of(user))
    return {key: states.get_variation(key) for key in states.keys()}  # noqa: SIM118 - it is no dict


@command
def wait_value(key: str, expected: Any, seconds: float, user: str = "someone") -> Any:
    """The value of the flag as soon as it is the expected one, the last one seen if it never is."""
    deadline = time.monotonic() + seconds
    while (seen := Here.client.variation(key, user_of(user), None)) != expected and time.monotonic() < deadline:
        time.sleep(0.002)
    return seen


@command
def put(prefix: str, count: int, key: str = "load") -> list[str]:
    """Evaluate for that many users; their keys."""
    keys = [f"{prefix}-{number}" for number in range(count)]
    for each in keys:
        Here.client.variation(key, user_of(each), None)
    return keys


@command
def put_and_hang(prefix: str, count: int, path: str) -> None:
    """Evaluate for that many users, write down who did and for whom, and come to no end."""
    keys = put(prefix, count)
    Path(path).write_text(f"{os.getpid()}:{','.join(keys)}")
    time.sleep(60)


@command
def identify(prefix: str, count: int) -> list[str]:
    """Register that many users, which needs no data; their keys."""
    keys = [f"{prefix}-{number}" for number in range(count)]
    for each in keys:
        Here.client.identify(user_of(each))
    return keys


@command
def hang(prefix: str, seconds: float, in_c: bool) -> None:
    """Put, then do nothing: asleep where signals are handled, or in a call of C that keeps the interpreter's lock."""
    put(prefix, 20)
    if in_c:
        sum(range(10**13))
    else:
        time.sleep(seconds)


@command
def if_pid(pid: int, name: str, arguments: list[Any]) -> Any:
    """The result of a command that is for this process alone."""
    return COMMANDS[name](*arguments) if os.getpid() == pid else None


@command
def leads() -> bool:
    return Here.client.is_leader


@command
def listen(key: str, user: str = "someone") -> None:
    """Listen to a flag, to all flags and to the state."""
    import listening  # beside this file

    Here.ears = listening.Ears(Here.client, key, user_of(user))


@command
def listen_badly(kind: str) -> None:
    """Add a listener that raises, or one that stops the client."""
    import listening

    Here.client.flag_tracker.add_flag_changed_listener(
        listening.Bad() if kind == "raises" else listening.Stopping(Here.client)
    )


@command
def heard(what: str, count: int = 0, seconds: float = 20.0) -> list[Any]:
    """What listeners were told, as soon as that is so much, or after this time."""
    deadline = time.monotonic() + seconds
    while len(Here.ears.heard[what]) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    return list(Here.ears.heard[what])


@command
def wait_heard(what: str, last: Any, seconds: float = 20.0) -> list[Any]:
    """What listeners were told, as soon as the last of it is this, or after this time."""
    deadline = time.monotonic() + seconds
    while Here.ears.heard[what][-1:] != [last] and time.monotonic() < deadline:
        time.sleep(0.005)
    return list(Here.ears.heard[what])


@command
def forget() -> None:
    """Let what was heard be as if nothing had been."""
    for told in Here.ears.heard.values():
        told.clear()


@command
def listen_no_more() -> None:
    Here.ears.close()


@command
def state() -> list[Any]:
    """The state, since when, the code that belongs to its error, and the age of the data."""
    provider = Here.client.update_status_provider
    now = provider.current_state
    detail = 0 if now.error_track is None else now.error_track.detail
    return [now.state_type.name, now.state_since, detail, provider.data_age]


@command
def descriptors() -> list[str]:
    """Where this process's open descriptors lead."""
    return descriptors_of(os.getpid())


def descriptors_of(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(path))
        except OSError:  # closed meanwhile, as the one that listed them
            continue
    return found


@command
def threads() -> int:
    return len(os.listdir("/proc/self/task"))


@command
def imported(names: list[str]) -> list[str]:
    """Which of these modules this process has imported."""
    return [name for name in names if name in sys.modules]


@command
def import_too(name: str) -> bool:
    """Import what a leader imports, as an application does that needs it itself; whether it is there in full."""
    return hasattr(importlib.import_module(name), "__version__")


@command
def in_the_middle(seconds: float = 20.0) -> bool:
    """Whether the import that is hindered has begun, and is not over."""
    return hindrance.Hindrance.begun.wait(seconds) and not hindrance.Hindrance.over.is_set()


@command
def stop(seconds: float) -> float:
    """Stop the client; how long that took."""
    before = time.monotonic()
    Here.client.stop(seconds)
    return time.monotonic() - before


@command
def watchers() -> int:
    """How many threads call listeners."""
    return sum(thread.name == "fbshared-watcher" for thread in threading.enumerate())


@command
def arm(step: str) -> None:
    """Die at this step of leading."""
    import steps  # beside this file

    steps.arm(step)


@command
def hurry() -> None:
    """Let a leader's look at its neighbours take no hour."""
    from fbshared.leader import siblings

    siblings.PAUSE, siblings.LOOKS = 0.5, 2


@command
def give_way(polls: int) -> None:
    """Leave a free lead to better candidates for this long, however slow the machine makes them."""
    from fbshared.leader import candidacy

    candidacy._CHANCES = polls


@command
def allow_rings(count: int) -> None:
    """Let a region have no more rings than this, as this process and its children see it."""
    from fbshared.shm import region

    region.MOST_RINGS = count


@command
def start(loop: str, *arguments: Any) -> None:
    made = LOOPS[loop](*arguments)
    Here.running.append(made)
    made.start()


@command
def so_far() -> dict[str, Any]:
    """What the loop that was started last would have to tell now."""
    return Here.running[-1].report


@command
def finish() -> dict[str, Any]:
    """End the loop that was started last; what it has to tell."""
    return Here.running.pop().finish()


@command
def fork(times: int = 1) -> list[int]:
    """Fork children that go on as processes of the test."""
    pids = []
    for _ in range(times):
        pid = os.fork()
        if pid == 0:
            become()
        pids.append(pid)
    return pids


@command
def fork_in_c(times: int = 1) -> list[int]:
    """The same in C, where no hook of Python runs.

    At a moment when no other thread of this process waits for the interpreter's lock: CPython's own lock does not
    always survive such a fork, with or without fbshared.
    """
    pids = []
    duty = Here.client._member._duty
    watcher().thread.pause()
    if duty is not None:
        duty.thread.pause()
    for _ in range(times):
        pid = ctypes.PyDLL(None).fork()  # which keeps the interpreter's lock
        if pid == 0:
            become()
        pids.append(pid)
    if duty is not None:
        duty.thread.resume()
    watcher().thread.resume()
    return pids


@command
def multiprocess(times: int = 1) -> list[int]:
    """The same through multiprocessing."""
    import multiprocessing

    processes = [multiprocessing.get_context("fork").Process(target=become) for _ in range(times)]
    for process in processes:
        process.start()
    return [process.pid or 0 for process in processes]


@command
def fork_by(way: str, *arguments: Any) -> Any:
    """Fork in one of the other ways."""
    return getattr(ways, way)(Here.client, become, *arguments)


@command
def pool(size: int, prefix: str, count: int, ending: str) -> list[str]:
    """Evaluate in the children of a pool, which is closed or terminated then; the keys of their users."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(size) as made:
        keys = made.map(_in_pool, [f"{prefix}-{number}" for number in range(count)], chunksize=1)
        getattr(made, ending)()
        made.join()
    return keys


def _in_pool(user: str) -> str:
    seen = Here.client.variation("load", user_of(user), "default")
    if seen != "one":
        raise AssertionError(seen)
    return user


@command
def reap(pid: int, seconds: float) -> int | None:
    """The wait status of an own child, None while it lives."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    return None


@command
def fork_nested(times: int) -> dict[int, list[str]]:
    """What the child of a child and so on has open, by how deep it is; each evaluates."""
    read, write = os.pipe()
    if os.fork() == 0:
        for depth in range(1, times + 1):
            seen = Here.client.variation("load", user_of(f"nested-{depth}"), "default")
            os.write(write, json.dumps([depth, seen, sorted(descriptors())]).encode() + b"\n")
            if depth < times and (pid := os.fork()):
                os.waitpid(pid, 0)
                break
        os._exit(0)
    os.wait()
    os.close(write)
    with open(read) as lines:
        found = [json.loads(line) for line in lines]
    return {depth: names for depth, seen, names in found if seen == "one"}


@command
def fork_storm(times: int, seconds: float) -> list[int]:
    """Fork children one after the other, each of which evaluates once and exits; their exit codes, -1 for late."""
    codes = []
    for number in range(times):
        pid = os.fork()
        if pid == 0:
            seen = Here.client.variation("load", user_of(f"storm-{number}"), "default")
            os._exit(0 if seen == "one" else 1)
        status = reap(pid, seconds)
        if status is None:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        codes.append(-1 if status is None else os.waitstatus_to_exitcode(status))
    return codes


class Loop(threading.Thread):
    """Something that goes on until it is told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.report: dict[str, Any] = {"count": 0, "wrong": []}

    def finish(self) -> dict[str, Any]:
        self.over.set()
        self.join(20)
        return self.report

    def wrong(self, what: Any) -> None:
        if len(self.report["wrong"]) < 10:
            self.report["wrong"].append(what)
            append("wrong", f"{os.getpid()}: {what}\n")  # it may be killed before it is asked


class Load(Loop):
    """Evaluates for one new user after the other, and writes down each of them after the call returned."""

    def __init__(self, path: str, prefix: str, rate: float) -> None:
        super().__init__()
        self.prefix = prefix
        self.rate = rate
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def run(self) -> None:
        begun = time.monotonic()
        count = 0
        while not self.over.is_set():
            while count < (time.monotonic() - begun) * self.rate and not self.over.is_set():
                key = f"{self.prefix}-{count}"
                before = time.monotonic()
                seen = Here.client.variation("load", user_of(key), "default")
                took = time.monotonic() - before
                os.write(self.fd, f"{key}\n".encode())
                if seen not in ("one", "two"):
                    self.wrong(seen)
                self.report["longest"] = max(self.report.get("longest", 0.0), took)
                count += 1
                self.report["count"] = count
            time.sleep(0.001)


class Watch(Loop):
    """Reads flags whose values carry the number of the patch that made them, as fast as it can.

    The flag ``paired`` says "in-N" to the members of a segment and "out-N" to all others, and the segment of patch
    N has the user of each bit that is set in N: a flag of one patch with a segment of another one is found out.
    ``number`` is N too, and ``member``, which no patch changes, whether the user is in the segment.

    Args:
        pause: seconds between two reads.
        newest: the patch that this process, or the one that it was forked from, has seen already.
    """

    def __init__(self, pause: float = 0.0, newest: int = -1) -> None:
        super().__init__()
        self.pause = pause
        self.newest = newest

    def run(self) -> None:
        newest = self.newest
        while not self.over.is_set():
            bit = random.randrange(10)
            number = self._one(bit) if random.random() < 0.8 else self._all(bit)
            self.report["count"] += 1
            if number < newest:
                self.wrong(["back in time", newest, number])
            if number != newest:
                newest = number
                self.report["newest"] = number
                self.report["changes"] = self.report.get("changes", 0) + 1
            if self.pause:
                time.sleep(self.pause)

    def _one(self, bit: int) -> int:
        return self._judge(bit, Here.client.variation("paired", user_of(f"bit-{bit}"), "none"))

    def _all(self, bit: int) -> int:
        states = Here.client.get_all_latest_flag_variations(user_of(f"bit-{bit}"))
        number = self._judge(bit, states.get_variation("paired"))
        if states.get_variation("number") != number or states.get_variation("member") != bool(number >> bit & 1):
            self.wrong(["two patches in one call", states.to_json_dict()])
        return number

    def _judge(self, bit: int, seen: str) -> int:
        word, _, digits = seen.partition("-")
        number = int(digits)
        if word != ("in" if number >> bit & 1 else "out"):
            self.wrong([bit, seen])
        return number


LOOPS: dict[str, type[Loop]] = {"load": Load, "watch": Watch}


def become() -> None:
    """Be a process of the test until it has no more to say."""
    code = 1
    try:
        serve()
        code = 0
    finally:
        os._exit(code)


def serve() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(Here.settings["socket"])
        stream = connection.makefile("rw", encoding="utf-8")
        _say(stream, os.getpid())
        for line in stream:
            name, arguments = json.loads(line)
            try:
                answer: list[Any] = [COMMANDS[name](*arguments), None]
            except Exception:  # noqa: BLE001 - the test is told
                answer = [None, traceback.format_exc()]
            _say(stream, answer)


def _say(stream: Any, what: Any) -> None:
    stream.write(json.dumps(what) + "\n")
    stream.flush()


def client_of(settings: dict[str, Any]) -> FBClient:
    """The client that a test's settings describe."""
    if settings.get("patient"):
        be_patient()
    if "hinder" in settings:
        hindrance.put_in_the_way(**settings["hinder"])
    urls = settings["secret"], settings["event_url"], settings["streaming_url"]
    options = dict(settings.get("options", {}))
    duty = options.pop("duty", {})  # what only tests set
    if "websocket" in options:
        options["websocket"] = WebSocketConfig(**options["websocket"])
    if "data_file" in options:
        options["data_source"] = FileDataSource(options.pop("data_file"))
    config = Config(*urls, **options)
    if duty:
        # The client takes the member that this process has.
        join(member_settings(config)._replace(duty=lambda: changed(duty_settings(config), **duty)))
    return FBClient(config, start_wait=settings.get("start_wait", 15.0))


def changed(settings: "DutySettings", delivery: dict[str, Any] | None = None, **duty: Any) -> "DutySettings":
    """A leader's settings with what only tests set."""
    return replace(settings, delivery=replace(settings.delivery, **(delivery or {})), **duty)


def be_patient() -> None:
    """Let a fork wait for the library's threads however long a busy machine keeps them from ending."""
    from fbshared import pausing

    pausing.PAUSE_LIMIT = 20.0


def be_of_layout(number: int) -> None:
    """Be a process of a version with another layout: each module has the number by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fbshared.shm.") and hasattr(module, "LAYOUT"):
            module.LAYOUT = number


def note(trouble: Any) -> None:
    """An exception that would only be printed is the test's business."""
    text = "".join(traceback.format_exception(trouble.exc_type, trouble.exc_value, trouble.exc_traceback))
    append("troubles", text)


def append(kind: str, text: str) -> None:
    """Leave a word in a file beside the test's socket."""
    with open(f"{Here.settings['socket']}.{kind}", "a") as file:
        file.write(text)


if __name__ == "__main__":
    Here.settings = json.loads(sys.argv[1])
    threading.excepthook = sys.unraisablehook = note
    if "layout" in Here.settings:
        be_of_layout(Here.settings["layout"])
    Here.client = client_of(Here.settings)
    serve()
    Here.client.stop(10.0)

"""A duty stands for the lead, leads, pauses around a fork, and ends in time."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbshared import gates
from fbshared.core import events
from fbshared.core.addresses import insight_url
from fbshared.core.model import FLAG, Dataset
from fbshared.leader import leadership as leadership_module
from fbshared.leader import libraries
from fbshared.leader.duty import Duty
from fbshared.leader.settings import ConnectionSettings, DeliverySettings, DutySettings, SyncSettings
from fbshared.shm import files
from fbshared.shm.bell import ring_bell
from fbshared.shm.control import RETIRED, SyncError, SyncState
from fbshared.shm.region import OwnRing, Region, now_ms, process_age, process_start, ring_name, snapshot_name
from fbshared.shm.ring import HEADER, birth
from fbshared.testing import FeatBitServer, flag

Eventually = Callable[..., bool]
MAPPED = 2  # descriptors of a ring that was used: its mappings live as long as the test's object


def settings_for(server: FeatBitServer, **more: float) -> DutySettings:
    return DutySettings(
        sync=SyncSettings(
            url=server.streaming_url,
            secret=server.secret,
            connection=ConnectionSettings(user_agent="test/1", timeout=10.0),
            first_retry=0.05,
        ),
        delivery=DeliverySettings(
            url=insight_url(server.event_url),
            secret=server.secret,
            user_agent="test/1",
            flush_interval=0.02,
            first_retry=0.01,
        ),
        **more,
    )


class Post:
    """A duty with what a member would give it."""

    def __init__(self, region: Region, settings: DutySettings, seed: Any = None) -> None:
        self.region = region
        self.ring: OwnRing = region.new_ring(4)
        self.lost: list[Duty] = []
        self.own = {self.ring.name: self.ring}
        self.duty = Duty(region, settings, lambda: self.own, self.lost.append, seed)

    def put(self, name: str) -> None:
        user = events.pack_user(events.make_pack(), {"key": name, "name": name})
        assert self.ring.push(events.record(user, events.IDENTIFY_TAIL, 1))

    @property
    def flags(self) -> set[str]:
        word = self.region.control.publication
        if word in (0, RETIRED):
            return set()
        try:
            return {key for key, _ in self.region.snapshot(word).keys(FLAG)}
        except FileNotFoundError:
            return set()

    @property
    def well(self) -> bool:
        return self.duty.leads and self.region.control.sync_state == SyncState.OK


Make = Callable[..., Post]


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the listing's own
            continue
    return found


@pytest.fixture
def make(region: Region, server: FeatBitServer) -> Iterator[Make]:
    made: list[Post] = []

    def post(**more: float) -> Post:
        made.append(Post(region, settings_for(server, **more)))
        return made[-1]

    yield post
    for each in made:
        each.duty.stop(time.monotonic() + 10)
        each.ring.file.close()


def test_it_leads(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A started duty becomes the leader, publishes what FeatBit says, delivers events and shows life."""
    post = make()
    assert not post.duty.leads
    post.duty.start()
    post.duty.start()
    post.put("a")

    assert eventually(lambda: post.well)
    assert eventually(lambda: {"dark-mode"} == post.flags)
    assert eventually(lambda: server.event_count == 1)
    beat = post.region.control.beat
    assert eventually(lambda: post.region.control.beat > beat)
    assert 1 == len(server.connections)


def test_one_of_two_leads(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """The second waits, and takes over from what is published when the first ends."""
    first, second = make(), make()
    first.duty.start()
    assert eventually(lambda: first.well)
    second.duty.start()
    assert not eventually(lambda: second.duty.leads, timeout=0.3)
    first.duty.stop(time.monotonic() + 10)

    assert eventually(lambda: second.well)
    assert 1 == server.max_open_connections
    assert server.connections[1].cursors[0] > 0
    assert not first.duty.leads


def test_stopping_delivers_what_is_left(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """An event that was put just before goes out; a second stop is nothing, and no start follows."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    post.put("last")
    post.duty.stop(time.monotonic() + 10)
    post.duty.stop(time.monotonic() + 10)
    post.duty.start()

    assert 1 == server.event_count
    assert not post.duty.leads
    assert 0 == post.region.control.leader_pid
    assert server.wait_for(lambda s: s.connections[0].close_code == 1000)


def test_stopping_has_an_end(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A server that does not answer costs the time that was given."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    server.insight_delay = 60
    post.put("a")
    assert server.wait_for(lambda s: s.event_count == 1)
    before = time.monotonic()
    post.duty.stop(before + 0.2)

    assert time.monotonic() - before < 10
    server.stop()


def test_a_stop_before_the_start(make: Make) -> None:
    """What never ran ends too."""
    post = make()
    post.duty.stop(time.monotonic())
    post.duty.start()

    assert not post.duty.leads


def test_stopping_leaves_no_descriptor(
    region: Region, server: FeatBitServer, make: Make, eventually: Eventually
) -> None:
    """Whoever makes and stops clients again and again does not run out of files."""
    counts = []
    for _ in range(4):
        post = make()
        post.duty.start()
        assert eventually(lambda post=post: post.well)
        post.duty.stop(time.monotonic() + 10)
        post.ring.file.close()
        assert server.wait_for(lambda s: s.open_connections == 0)
        counts.append(len(os.listdir("/proc/self/fd")))

    assert counts[1] >= counts[-1] - 2 * MAPPED


def test_no_more_threads(
    make: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no thread can be started it is said, and nothing is broken for a later try."""
    post = make()

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        post.duty.start()
    assert not post.duty.thread.runs
    assert "can't start new thread" in caplog.text
    post.duty.start()

    assert eventually(lambda: post.well)


@pytest.fixture
def only_the_duty(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The duty's thread can be started once, and no other, as at the end of the interpreter; until it is undone."""
    start, started = threading.Thread.start, list[str]()

    def only_once(thread: threading.Thread) -> None:
        if thread.name != "fbshared" or started:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        started.append(thread.name)
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", only_once)
        yield patched


def test_no_thread_for_a_leader_s_work(
    make: Make, eventually: Eventually, only_the_duty: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who gets no thread for sync and delivery gives the lead back, says so once, and tries again."""
    post = make(offer_pause=0.05)
    post.duty.start()

    assert eventually(lambda: post.region.control.epoch > 2)
    assert 1 == caplog.text.count("cannot lead")
    only_the_duty.undo()
    assert eventually(lambda: post.well)


def test_the_end_without_any_other_thread(
    server: FeatBitServer,
    make: Make,
    eventually: Eventually,
    only_the_duty: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An interpreter that is ending starts no thread for a new leader; the duty's own delivers what is left."""
    del only_the_duty
    post = make()
    post.put("a")
    post.duty.start()
    assert eventually(lambda: "cannot lead" in caplog.text)
    post.own.clear()  # a member that leaves lets go of its rings first
    post.ring.file.close()
    post.duty.stop(time.monotonic() + 10)

    assert 1 == server.event_count


# Pauses


def test_a_fork_keeps_the_connection(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """The parent goes on with the same connection; the child has no leader's thread, and lets go of what it
    inherited without harm."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    child = os.fork()
    if child == 0:
        os._exit(sum(thread.name.startswith("fbshared") for thread in threading.enumerate()))
    assert (child, 0) == os.waitpid(child, 0)
    server.put_flag(flag("after"))

    assert eventually(lambda: "after" in post.flags)
    assert 1 == len(server.connections)
    assert post.duty.leads


def test_pauses_are_counted(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Two forks at the same time: it goes on after the second."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    post.duty.thread.pause()
    post.duty.thread.pause()
    post.duty.thread.resume()
    post.duty.start()
    beat = post.region.control.beat
    assert not eventually(lambda: post.region.control.beat > beat, timeout=0.3)
    post.duty.thread.resume()

    assert eventually(lambda: post.region.control.beat > beat)


def test_a_pause_that_was_too_short(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A fork does not wait for a slow request, and the leader goes on afterwards all the same."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    server.insight_delay = 4.0
    post.put("slow")
    assert server.wait_for(lambda s: s.event_count == 1)
    before = time.monotonic()
    post.duty.thread.pause()
    assert time.monotonic() - before < 3.0
    post.duty.thread.resume()
    server.insight_delay = 0
    server.put_flag(flag("after"))

    assert eventually(lambda: "after" in post.flags)
    beat = post.region.control.beat
    assert eventually(lambda: post.region.control.beat > beat + 20)
    post.put("later")
    assert eventually(lambda: server.event_count == 2)


def test_a_pause_at_the_end_of_another(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """However closely pauses follow each other, it runs after the last."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    for _ in range(30):
        post.duty.thread.pause()
        post.duty.thread.resume()
    server.put_flag(flag("after"))

    assert eventually(lambda: "after" in post.flags)
    assert 1 == len(server.connections)


# What may happen to a leader


def test_a_superseded_leader(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Who finds a larger epoch closes its connection and waits again."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    region.control.epoch = 5

    assert server.wait_for(lambda s: s.connections[0].closed_at)
    assert eventually(lambda: post.well and region.control.epoch == 6)


def test_a_removed_lock_file(region: Region, make: Make, eventually: Eventually) -> None:
    """A leader whose lock file was removed stands for the lead again."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    os.unlink(region.join("leader.1.lock"))

    assert eventually(lambda: region.control.epoch >= 2 and post.well)


def test_a_removed_region(region: Region, make: Make, eventually: Eventually) -> None:
    """It is given up, its member is told, and the data goes with it."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    shutil.rmtree(region.path)

    assert eventually(lambda: post.lost)
    assert RETIRED == region.control.publication
    assert eventually(lambda: not post.duty.leads)
    dataset, synced = post.duty.seed
    assert synced
    assert "dark-mode" in dataset.flags


def test_a_retired_region(region: Region, make: Make, eventually: Eventually) -> None:
    """Somebody else noticed first: a candidate leaves as well."""
    leader, candidate = make(), make()
    leader.duty.start()
    assert eventually(lambda: leader.well)
    candidate.duty.start()
    region.control.retire()

    assert eventually(lambda: leader.lost and candidate.lost)


def test_a_region_removed_under_candidates(region: Region, make: Make, eventually: Eventually) -> None:
    """A candidate that finds no directory gives the region up."""
    leader, candidate = make(), make()
    leader.duty.start()
    assert eventually(lambda: leader.well)
    leader.duty.thread.pause()
    shutil.rmtree(region.path)
    candidate.duty.start()

    assert eventually(lambda: candidate.lost)
    assert RETIRED == region.control.publication


def test_the_next_region_begins_with_the_data(
    server: FeatBitServer, region: Region, make: Make, eventually: Eventually
) -> None:
    """A duty that is given the data of an earlier term publishes it without FeatBit."""
    first = make()
    first.duty.start()
    assert eventually(lambda: first.well)
    shutil.rmtree(region.path)
    assert eventually(lambda: first.lost)
    server.stop()
    other = Region(str(Path(region.path).parent.parent), "digest")
    second = Post(other, settings_for(server), first.duty.seed)
    second.duty.start()

    assert eventually(lambda: {"dark-mode"} == second.flags)
    second.duty.stop(time.monotonic() + 10)
    second.ring.file.close()
    other.close()


def test_an_unusable_directory(
    region: Region,
    make: Make,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the system is said once, and it tries on."""
    post = make()

    def fail() -> None:
        raise OSError(errno.EMFILE, "too many files")

    with monkeypatch.context() as patched:
        patched.setattr(post.duty._candidacy, "poll", fail)
        post.duty.start()
        assert eventually(lambda: "too many files" in caplog.text)
        assert not eventually(lambda: post.duty.leads, timeout=0.2)
    assert eventually(lambda: post.well)

    assert 1 == caplog.text.count("too many files")


def test_a_term_that_cannot_begin(
    region: Region, make: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that cannot get what it needs gives the lock back and tries again."""
    post = make()

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many files")

    with monkeypatch.context() as patched:
        patched.setattr(leadership_module, "Leadership", fail)
        post.duty.start()
        assert eventually(lambda: region.control.epoch >= 2)
    assert eventually(lambda: post.well)


def test_libraries_that_cannot_be_imported(
    region: Region,
    make: Make,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A leader that cannot import what it needs says so once, gives the lead back, and tries again later."""
    post = make(offer_pause=0.2)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "fbshared.leader.leadership", None)
        post.duty.start()
        assert eventually(lambda: region.control.epoch >= 3)
        assert eventually(lambda: region.control.leader_pid == 0)
    assert eventually(lambda: post.well)

    assert 1 == caplog.text.count("this process cannot lead: import of fbshared.leader.leadership halted")


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Importing what a leader needs lasts from the first of these events until the second."""
    begun, go_on, real = threading.Event(), threading.Event(), libraries.leadership

    def slow() -> Any:
        begun.set()
        assert go_on.wait(20)
        return real()

    monkeypatch.setattr(libraries, "leadership", slow)
    yield begun, go_on
    go_on.set()


Slowly = tuple[threading.Event, threading.Event]


def test_a_pause_while_it_imports(make: Make, eventually: Eventually, slowly: Slowly) -> None:
    """A fork has more patience than with anything else that a leader does: it waits until the leader can pause."""
    begun, go_on = slowly
    post = make()
    post.duty.start()
    assert begun.wait(20)
    timer = threading.Timer(1.0, go_on.set)
    timer.start()
    post.duty.thread.pause()
    paused = go_on.is_set(), post.duty.thread.runs
    timer.join()
    post.duty.thread.resume()

    assert (True, False) == paused
    assert eventually(lambda: post.well)


def test_nobody_is_elected_in_a_pause(region: Region, make: Make) -> None:
    """Who has looked whether to pause a moment too early does not begin to import what a fork would not wait for."""
    post = make()
    post.duty._halt.set()

    assert post.duty._stand(time.monotonic())
    assert 0 == region.control.epoch


def test_a_child_from_the_middle_of_an_import(
    region: Region, make: Make, eventually: Eventually, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that a fork could not spare that keeps no lock of its parent's."""
    begun, go_on = slowly
    monkeypatch.setattr(gates, "IMPORT_LIMIT", 0.1)
    post = make()
    post.duty.start()
    assert begun.wait(20)
    held = any("leader." in path for path in open_files())
    child = os.fork()
    if child == 0:
        post.duty.drop()
        os._exit(sum("leader." in path for path in open_files()))
    status = os.waitpid(child, 0)
    go_on.set()

    assert held
    assert (child, 0) == status
    assert eventually(lambda: post.well)


def test_others_lose_patience_while_it_imports(
    region: Region, make: Make, eventually: Eventually, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds itself superseded touches nothing that is the next leader's, and stands for the lead again."""
    begun, go_on = slowly
    real, epochs = leadership_module.Leadership, list[int]()
    monkeypatch.setattr(leadership_module, "Leadership", lambda *args: epochs.append(args[1].epoch) or real(*args))
    post = make()
    post.duty.start()
    assert begun.wait(20)
    region.control.epoch = 5
    go_on.set()

    assert eventually(lambda: post.well)
    assert [6] == epochs


def test_a_damaged_snapshot_is_published_again(region: Region, make: Make, eventually: Eventually) -> None:
    """Somebody who could not read it gets another one within a second or two."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well and post.flags)
    word = region.control.publication
    region.control.damaged = word

    assert eventually(lambda: region.control.publication > word)
    assert eventually(lambda: {"dark-mode"} == post.flags)


def test_a_damaged_snapshot_is_no_beginning(
    server: FeatBitServer, region: Region, make: Make, eventually: Eventually
) -> None:
    """A new leader that cannot read what was published asks for everything, and publishes it."""
    first, second = make(), make()
    first.duty.start()
    assert eventually(lambda: first.well and first.flags)
    first.duty.stop(time.monotonic() + 10)
    file = Path(region.join(snapshot_name(region.control.publication)))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    os.unlink(file)
    file.write_bytes(content)
    second.duty.start()

    assert eventually(lambda: second.well and second.flags)
    assert [0] == server.connections[1].cursors


def test_nobody_is_led_back(
    server: FeatBitServer, region: Region, make: Make, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """A new leader that cannot read what was published, and knows something older, publishes nothing before FeatBit
    has sent everything."""
    first = make()
    first.duty.start()
    assert eventually(lambda: first.well and first.flags)
    assert first.duty.leadership is not None
    seed = first.duty.leadership.sync.dataset, True
    server.put_flag(flag("newer"))
    assert eventually(lambda: "newer" in first.flags)
    first.duty.stop(time.monotonic() + 10)
    word = region.control.publication
    os.unlink(region.join(snapshot_name(word)))
    server.stop()
    second = Post(region, settings_for(server), seed)
    second.duty.start()
    assert eventually(lambda: second.duty.leads and region.control.sync_error == SyncError.NETWORK)
    assert second.duty.leadership is not None
    second.duty.leadership.sync.republish()

    assert eventually(lambda: region.control.sync_retry_at > now_ms())
    assert word == region.control.publication
    assert any("is not published before" in record.getMessage() for record in caplog.records)

    server.mute_data_sync()
    server.start()
    assert eventually(lambda: server.open_connections)
    server.put_flag(flag("pushed"))
    assert eventually(lambda: "pushed" in second.duty.leadership.sync.dataset.flags)  # type: ignore[union-attr]
    assert word == region.control.publication
    region.control.epoch += 1  # superseded before it had all
    assert eventually(lambda: not second.duty.leads)
    assert seed == second.duty.seed
    server.mute_data_sync(False)
    assert eventually(lambda: second.well and {"dark-mode", "newer", "pushed"} == second.flags)
    assert region.control.publication > word
    assert [0] == server.connections[-1].cursors
    second.duty.stop(time.monotonic() + 10)
    second.ring.file.close()


def test_nobody_is_left_to_be_led_back(
    server: FeatBitServer, region: Region, make: Make, eventually: Eventually
) -> None:
    """What was published before the machine was started is in no process any more: older data is better than none."""
    first = make()
    first.duty.start()
    assert eventually(lambda: first.well and first.flags)
    seed = first.duty.leadership.sync.dataset, True  # type: ignore[union-attr]
    first.duty.stop(time.monotonic() + 10)
    word = region.control.publication
    os.unlink(region.join(snapshot_name(word)))
    server.stop()
    region.control.data_version += 1
    region.control.published_at = 1
    second = Post(region, settings_for(server), seed)
    second.duty.start()

    assert eventually(lambda: region.control.publication > word and {"dark-mode"} == second.flags)
    second.duty.stop(time.monotonic() + 10)
    second.ring.file.close()


def test_a_dead_thread_is_started_again(
    server: FeatBitServer, make: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the delivery's thread, another one follows."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    assert post.duty.leadership is not None
    rings = post.duty.leadership.rings
    real = rings.collect

    def fail(_: int) -> Any:
        rings.collect = real  # type: ignore[method-assign]
        raise RuntimeError("a bug")

    rings.collect = fail  # type: ignore[method-assign]
    post.put("a")
    ring_bell(post.region)

    assert eventually(lambda: server.event_count == 1)


def test_an_unreachable_server(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A leader that cannot connect for long offers the lead to others, who begin to count anew once they can."""
    server.stop()
    first, second = make(offer_after=0.1, offer_pause=0.3), make(offer_after=0.1, offer_pause=0.3)
    first.duty.start()
    second.duty.start()
    assert eventually(lambda: region.control.epoch >= 2)
    assert region.control.unreachable >= 1
    server.start()

    assert eventually(lambda: first.well or second.well)
    assert eventually(lambda: region.control.unreachable == 0)
    assert 1 == server.max_open_connections


def test_nobody_to_offer_the_lead_to(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A leader that is alone goes on trying and stays the leader."""
    server.stop()
    post = make(offer_after=0.1)
    post.duty.start()
    assert eventually(lambda: region.control.sync_state == SyncState.INTERRUPTED)
    assert not eventually(lambda: region.control.epoch > 1 or not post.duty.leads, timeout=2.5)
    server.start()

    assert eventually(lambda: post.well)
    assert 1 == region.control.epoch


def foreign_ring(region: Region, pid: int, start: int) -> None:
    head = birth(region.identity, (pid, start), 2)
    file = files.create(region.path, ring_name(), HEADER, head, owned=True)
    assert file is not None
    file.close()


def test_a_young_process_gives_way_to_an_older_one(region: Region, make: Make) -> None:
    """Not to a dead, a younger or an unknown one, nor once it is old enough itself."""
    settled, young = make(settled_age=0.0), make(settled_age=1e9)
    mine = process_start(os.getpid())
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    assert process_age() > 0.1  # the kernel's ticks are coarse
    with subprocess.Popen(command, stdin=subprocess.PIPE) as younger:
        foreign_ring(region, younger.pid, process_start(younger.pid))
        foreign_ring(region, os.getpid(), mine - 1)  # another process had that number
        foreign_ring(region, 0, 0)
        files.replace(region.path, "ring.odd", [b"odd"])
        among_younger = young.duty._candidacy.gives_way()
        child = os.fork()
        if child == 0:
            # Its parent's rings are those of an older process.
            os._exit(10 * settled.duty._candidacy.gives_way() + young.duty._candidacy.gives_way())
        in_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        younger.kill()

    assert 0 == among_younger
    assert 0 < in_child < 10


def test_a_refused_leader_stays(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """FeatBit refuses the environment and not the process: nobody takes over to try again."""
    server.refuse(4003)
    first, second = make(offer_after=0.1), make(offer_after=0.1)
    first.duty.start()
    assert eventually(lambda: region.control.sync_state == SyncState.REFUSED)
    second.duty.start()

    assert not eventually(lambda: region.control.epoch > 1, timeout=1.5)
    assert 1 == len(server.connections)


def test_epochs_do_not_race(
    region: Region, server: FeatBitServer, make: Make, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is elected and cannot lead says why, once, and stands back: epochs do not race; it leads when it can."""
    os.mkdir(region.join("bell"))
    post = make(offer_pause=0.3)
    post.duty.start()
    assert eventually(lambda: region.control.epoch >= 3)
    began, epoch = time.monotonic(), region.control.epoch
    assert eventually(lambda: region.control.epoch > epoch + 1)
    spent = time.monotonic() - began
    troubles = [record for record in caplog.records if "cannot be used: Is a directory" in record.getMessage()]
    os.rmdir(region.join("bell"))

    assert spent > 0.3
    assert 1 == len(troubles)
    assert eventually(lambda: post.well)


def test_dropping_touches_nothing(region: Region, server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A child that noticed its fork late closes its copies; the parent's lock, lead and connection stay."""
    post = make()
    post.duty.start()
    assert eventually(lambda: post.well)
    server.fail_insights_forever(503)
    dead = Post(region, settings_for(server))
    dead.put("undelivered")  # or the leader would be done with its ring in a second
    dead.ring.file.close()
    other_ring = dead.ring.name
    leadership = post.duty.leadership
    assert leadership is not None
    assert eventually(lambda: other_ring in leadership.rings._followed)
    child = os.fork()
    if child == 0:
        post.duty.drop()
        mine = [path for path in open_files() if path.startswith(region.path)]
        held = [path for path in mine if "leader." in path or "/bell" in path or other_ring in path]
        os._exit(len(held) if leadership.term.fd == -1 else 99)
    assert (child, 0) == os.waitpid(child, 0)

    other = make()
    other.duty.start()
    assert not eventually(lambda: other.duty.leads, timeout=0.3)
    assert post.duty.leads
    assert region.control.leader_pid == os.getpid()
    assert server.connections[0].closed_at is None
    server.heal_insights()


def test_sync_is_interrupted_since_the_takeover(server: FeatBitServer, region: Region, eventually: Eventually) -> None:
    """A new leader that cannot connect shows since when sync is interrupted, and not when the former one began."""
    server.refuse_handshake(503)
    region.control.sync_state, region.control.sync_since = SyncState.OK, 1
    post = Post(region, settings_for(server), (Dataset.of([]), True))
    post.duty.start()

    def shown() -> bool:
        control = region.control
        return control.sync_error == SyncError.HANDSHAKE and control.sync_state != SyncState.OK

    assert eventually(shown)

    state, since = region.control.sync_state, region.control.sync_since
    post.duty.stop(time.monotonic() + 10)
    post.ring.file.close()

    assert SyncState.INTERRUPTED == state
    assert abs(since / 1000 - time.time()) < 60

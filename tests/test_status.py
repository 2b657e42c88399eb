"""What regions look like from outside, and from a process that is a member."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fbshared import Config, FBClient
from fbshared.shm import files
from fbshared.shm.control import SyncState
from fbshared.shm.region import Region, process_start
from fbshared.shm.ring import CHUNK, FOLLOWER, MAY_LEAD, birth
from fbshared.status import RegionStatus, read_regions
from fbshared.testing import FeatBitServer, bootstrap, flag, segment
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada"}


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("on"), flag("off")], [segment("staff")])) as started:
        yield started


@pytest.fixture
def client(server: FeatBitServer) -> Iterator[FBClient]:
    config = Config(server.secret, server.event_url, server.streaming_url, events_flush_interval=0.02)
    with FBClient(config, start_wait=10) as made:
        # Its data is there a moment before the leader says that all is well.
        assert eventually(lambda: only().well)
        yield made


def only() -> RegionStatus:
    (status,) = read_regions()
    return status


def owner_lock_is_held(path: str) -> bool:
    """Asked by another process, for a process does not see its own locks."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            file = files.map_file(path)
            code = int(files.lock_owner(file.fd))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_regions(shared_directory: Path) -> None:
    """Where there are none, there is nothing to say; what is no region is passed over."""
    assert [] == read_regions()
    assert [] == read_regions(shared_directory / "missing")
    region = Region(str(shared_directory), "digest")
    (Path(region.path).parent / "file").touch()
    (Path(region.path).parent / "empty").mkdir()
    (Path(region.path).parent / "odd").mkdir()
    (Path(region.path).parent / "odd" / "control").write_bytes(b"odd")

    assert [region.path] == [status.path for status in read_regions()]
    region.close()


def test_a_living_region(client: FBClient, server: FeatBitServer) -> None:
    """Leader, data and members are shown, and nothing is the matter."""
    assert client.variation("on", USER) is True
    assert client.flush(10)
    assert eventually(lambda: only().events_delivered == 1)
    status = only()

    assert status.well
    assert "" == status.why_stale()
    assert (os.getpid(), True, 1) == (status.leader_pid, status.leader_alive, status.epoch)
    assert ("ok", "none", 0) == (status.sync_state, status.sync_error, status.sync_detail)
    assert ("streaming", False) == (status.transport, status.restored)
    assert (2, 1, 1, 1) == (status.flags, status.segments, status.generation, status.connections)
    assert ("ok", 200) == (status.delivery_state, status.delivery_status)
    assert (os.getpid(),) == status.members
    assert status.data_age_s is not None
    assert 0 <= status.data_age_s < 60
    assert server.secret not in repr(status)


def test_rings(client: FBClient, server: FeatBitServer) -> None:
    """What waits is counted for each ring, and reading it does not drop the owner's lock."""
    server.fail_insights_forever(503)
    for _ in range(5):
        client.variation("on", USER)
    for root in (None, os.environ["FBSHARED_DIR"], os.environ["FBSHARED_DIR"] + "//"):
        (ring,) = read_regions(root)[0].rings
        assert (5, 0, os.getpid(), True) == (ring.backlog_events, ring.dropped, ring.pid, ring.alive)
        assert ring.backlog_bytes > 5 * 50
        assert ring.capacity_bytes % CHUNK == 0
    (path,) = (each.file.path for each in client._member.outbox.rings.values())
    assert owner_lock_is_held(path)
    server.heal_insights()
    assert client.flush(10)

    assert eventually(lambda: [(0, 5)] == [(ring.backlog_events, ring.delivered) for ring in only().rings])


def test_reading_from_another_process(client: FBClient) -> None:
    """A process that is no member sees the same, and is none afterwards."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            seen = only()
            code = 0 if seen.well and seen.members == (os.getppid(),) and seen.flags == 2 else 1
        finally:
            os._exit(code)

    assert (child, 0) == os.waitpid(child, 0)
    assert 1 == len(only().rings)


def test_json(client: FBClient) -> None:
    """Everything can be JSON, with the verdict."""
    data = json.loads(json.dumps(only().to_json_dict()))

    assert data["well"] is True
    assert "" == data["why_stale"]
    assert os.getpid() == data["rings"][0]["pid"]


def test_nobody_leads(client: FBClient) -> None:
    """After the last process left, the data is there and nobody is well."""
    client.stop()
    status = only()

    assert (False, False, 2, ()) == (status.well, status.leader_alive, status.flags, status.members)
    assert "no process leads" in status.why_stale()


def test_a_killed_leader(shared_directory: Path) -> None:
    """A leader whose process is gone does not live, whatever the page says, and is no member."""
    region = Region(str(shared_directory), "digest")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    region.control.leader_pid, region.control.leader_start = child, 5
    region.control.sync_state = SyncState.OK
    status = only()

    assert (False, False, ()) == (status.leader_alive, status.well, status.members)
    assert (None, None, 0) == (status.data_age_s, status.published_age_s, status.generation)
    region.close()


def test_a_leader_in_another_pid_namespace(client: FBClient) -> None:
    """Its number means nothing here; its heartbeat shows that it lives, and its lock that it is a member."""
    control = client._member.region.control
    start, control.leader_start = control.leader_start, 1
    dead = read_regions()[0].leader_alive
    namespace = control.leader_namespace
    control.leader_namespace += 1
    alive = read_regions()[0].leader_alive
    control.leader_namespace, control.leader_start = namespace, start

    assert (False, True) == (dead, alive)


def test_a_member_in_another_pid_namespace(shared_directory: Path) -> None:
    """The owner lock shows that it lives."""
    region = Region(str(shared_directory), "digest")
    ready, ready_end = os.pipe()
    child = os.fork()
    if child == 0:
        ring = region.new_ring(2)
        ring.words[6] = 1  # no start that this namespace knows
        os.write(ready_end, b"!")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    (before,) = read_regions()[0].rings
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (after,) = read_regions()[0].rings
    for fd in (ready, ready_end):
        os.close(fd)
    region.close()

    assert (True, False) == (before.alive, after.alive)


def test_why(client: FBClient, server: FeatBitServer) -> None:
    """The reason is said in words: a refusal with its causes, an interruption with its code."""
    server.refuse(1011)
    server.drop_connections(1011)
    assert eventually(lambda: "closed (1011)" in only().why_stale(), 30)
    server.refuse(4003)

    assert eventually(lambda: "4003" in only().why_stale(), 30)
    assert not only().well
    assert "(401)" in replace(only(), sync_detail=401).why_stale()


def test_strange_figures(shared_directory: Path) -> None:
    """A retired page, unknown states, a missing snapshot and a file that is no ring are no reason to fail."""
    region = Region(str(shared_directory), "digest")
    region.control.publication = 77
    region.control.sync_state = region.control.delivery_state = 99
    files.replace(region.path, "ring.odd", [b"odd"])
    status = only()
    assert ("unknown", "unknown", 0, 77, ()) == (
        status.sync_state,
        status.delivery_state,
        status.flags,
        status.generation,
        status.rings,
    )
    region.control.retire()

    assert 0 == only().generation
    region.close()


def test_reading_while_everything_happens(client: FBClient, server: FeatBitServer) -> None:
    """Files may come and go while one looks."""
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            server.put_flag(flag(f"f{number % 10}"))
            stop.wait(0.001)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            assert 1 == len(read_regions())
    finally:
        stop.set()
        thread.join()


def live_ring(region: Region, pid: int, role: int, digest: int) -> None:
    head = birth(region.identity, (pid, process_start(pid)), 2, digest << 2 | role)
    files.replace(region.path, f"ring.{pid}.{role}.{digest}", [head])


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that live as long as the test, in ascending order."""
    command = [sys.executable, "-c", "input()"]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    yield sorted(process.pid for process in started)
    for process in started:
        process.kill()
        process.communicate()


def test_members_with_other_settings(shared_directory: Path, pids: list[int]) -> None:
    """Candidates are compared with the leader, else with most of them, followers with most followers."""
    region = Region(str(shared_directory), "digest")
    live_ring(region, pids[0], MAY_LEAD, 7)
    live_ring(region, pids[1], MAY_LEAD, 7)
    live_ring(region, pids[2], MAY_LEAD, 8)
    assert (pids[2],) == only().differing
    region.control.leader_pid = pids[2]
    assert (pids[0], pids[1]) == only().differing
    live_ring(region, pids[3], FOLLOWER, 9)
    live_ring(region, 1, FOLLOWER, 10)

    # One against one: the lower process number is right.
    assert (*pids[:2], pids[3]) == only().differing
    assert {("auto", 7), ("auto", 8), ("follower", 9), ("follower", 10)} == {
        (ring.role, int(ring.settings, 16)) for ring in only().rings
    }
    region.close()


def test_equal_and_unknown_settings(shared_directory: Path, pids: list[int]) -> None:
    """Who is like the leader is not named, and nobody is for an older version's ring or a dead process's."""
    region = Region(str(shared_directory), "digest")
    region.control.leader_pid = pids[0]
    live_ring(region, pids[0], MAY_LEAD, 7)
    live_ring(region, pids[1], MAY_LEAD, 7)
    head = birth(region.identity, (pids[2], process_start(pids[2])), 2)
    files.replace(region.path, "ring.unknown", [head])
    head = birth(region.identity, (pids[3], 1), 2, 8 << 2 | MAY_LEAD)
    files.replace(region.path, "ring.dead", [head])
    status = only()

    assert () == status.differing
    assert {"auto", "unknown"} == {ring.role for ring in status.rings}
    assert "" in {ring.settings for ring in status.rings}
    region.close()

"""The server as a whole: life, data, faults, records."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import websocket

from fbshared.errors import MessageError
from fbshared.testing import FeatBitServer, bootstrap, flag, segment, segment_id
from fbshared.testing.environment import version_of

Connect = Callable[..., Any]
STAFF = segment_id("staff")


def is_healthy(server: FeatBitServer) -> bool:
    return requests.get(f"{server.event_url}/health/liveness", timeout=5).ok


# Life


def test_it_knows_its_names() -> None:
    """Secret, environment and URLs belong together, and the secret is not in the repr."""
    with FeatBitServer() as server:
        assert server.environment_id == FeatBitServer(secret=server.secret).environment_id
        assert f"ws://127.0.0.1:{server.port}" == server.streaming_url
        assert f"http://127.0.0.1:{server.port}" == server.event_url
        assert server.secret not in repr(server)


def test_a_malformed_secret_is_refused() -> None:
    """A server that nobody could connect to is not made."""
    with pytest.raises(ValueError):
        FeatBitServer(secret="secret")


def test_an_outage(server: FeatBitServer, connect: Connect) -> None:
    """A stopped server cuts all connections and refuses new ones; restarted it is the same as before."""
    client, port = connect(), server.port
    assert client.is_in_touch()

    server.stop()
    assert client.close_code() is None
    with pytest.raises(ConnectionRefusedError):
        connect()
    server.put_flag(flag("written-meanwhile"))
    server.start()

    assert port == server.port
    assert "written-meanwhile" in str(connect().sync())
    assert [None, None] == [record.close_code for record in server.connections]
    assert (1, 1) == (server.open_connections, server.max_open_connections)


def test_stopping_twice_is_stopping(server: FeatBitServer) -> None:
    """Neither a second stop nor a start of a started server does harm."""
    server.stop()
    server.stop()
    server.drop_connections()
    server.start()
    server.start()

    assert is_healthy(server)


def test_a_slow_answer_does_not_delay_the_stop(server: FeatBitServer) -> None:
    """Whoever waits for an answer loses the connection."""
    server.insight_delay = 60
    lost = threading.Event()

    def post() -> None:
        try:
            requests.post(
                f"{server.event_url}/api/public/insight/track",
                json=[],
                headers={"Authorization": server.secret},
                timeout=30,
            )
        except requests.ConnectionError:
            lost.set()

    thread = threading.Thread(target=post)
    thread.start()
    assert server.wait_for(lambda s: len(s.requests) == 1)
    server.stop()

    assert lost.wait(5)
    thread.join(5)


def test_a_taken_port_is_an_error(server: FeatBitServer) -> None:
    """Two servers cannot listen on one port."""
    other = FeatBitServer(port=server.port)

    with pytest.raises(OSError):
        other.start()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_keep_nothing_alive(server: FeatBitServer, connect: Connect) -> None:
    """A forked child holds copies of all descriptors; dropping and stopping work nevertheless."""
    dropped, stopped = connect(), None
    assert dropped.is_in_touch()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        server.drop_connections()
        assert dropped.close_code() is None
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            connect()
        server.start()
        stopped = connect()
        assert stopped.is_in_touch()
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def test_without_aiohttp_there_are_builders() -> None:
    """The package can be imported, and the server says what to install."""
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from fbshared.testing import FeatBitServer, flag\n"
        "flag('a')\n"
        "try: FeatBitServer()\n"
        "except ImportError as error: print(error)\n"
    )

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "pip install 'fbshared[testing]'" in output


# Data


def test_changes_are_stamped_and_pushed(server: FeatBitServer, connect: Connect) -> None:
    """Every kind of change sends exactly its item, newer than before."""
    client = connect()
    client.sync()
    before = time.time()
    changes: list[tuple[Callable[[], float], str, str]] = [
        (lambda: server.put_flag(flag("new")), "featureFlags", "new"),
        (lambda: server.update_flag("new", isEnabled=False), "featureFlags", "new"),
        (lambda: server.archive_flag("new"), "featureFlags", "new"),
        (lambda: server.put_segment(segment("people")), "segments", "people"),
        (lambda: server.update_segment(STAFF, included=["bob"]), "segments", "staff"),
        (lambda: server.archive_segment(STAFF), "segments", "staff"),
    ]
    version = 0
    for change, field, name in changes:
        pushed_at = change()
        data = client.receive()["data"]

        (item,) = data.pop(field)
        assert {"eventType": "patch", "featureFlags": [], "segments": []} == {field: [], **data}
        assert name == item["name"]
        assert version < version_of(item["updatedAt"])
        assert before <= pushed_at <= time.time()
        version = version_of(item["updatedAt"])
    assert server.flag("new")["isArchived"]
    assert not server.flag("new")["isEnabled"]
    assert ["bob"] == server.segment(STAFF)["included"]


def test_changes_need_not_be_pushed(server: FeatBitServer, connect: Connect) -> None:
    """A silent change is in the next answer only."""
    client = connect()
    client.sync()

    server.update_flag("dark-mode", push=False, name="Night")

    assert client.is_in_touch()
    assert "Night" == client.sync(3_000)["featureFlags"][0]["name"]


def test_unknown_items_are_errors(server: FeatBitServer) -> None:
    """What does not exist can neither be read nor changed."""
    for action in (server.flag, server.segment, server.update_flag, server.archive_segment):
        with pytest.raises(KeyError):
            action("nothing")


def test_items_are_copies(server: FeatBitServer) -> None:
    """Changing what was read changes nothing in the server."""
    server.flag("dark-mode")["variations"].clear()
    server.segment(STAFF)["included"].clear()

    assert server.flag("dark-mode")["variations"]
    assert server.segment(STAFF)["included"]


def test_loading_replaces_everything(server: FeatBitServer, connect: Connect) -> None:
    """It is silent, or pushed as an unsolicited full."""
    client = connect()
    client.sync()

    server.load(bootstrap([flag("silent")]))
    server.load(bootstrap([flag("loud")]), push=True)

    assert bootstrap([flag("loud")]) == client.receive()
    assert bootstrap([flag("loud")])["data"] == client.sync()


# Faults


def test_connections_can_be_dropped(server: FeatBitServer, connect: Connect) -> None:
    """All of them, with a code or abruptly; new ones are welcome."""
    for code in (1001, 4003, None):
        clients = [connect(), connect()]
        assert all(client.is_in_touch() for client in clients)
        server.drop_connections(code)

        assert [code, code] == [client.close_code() for client in clients]
        assert server.wait_for(lambda s: s.open_connections == 0)
        assert [code, code] == [record.close_code for record in server.connections[-2:]]


def test_connections_can_be_refused(server: FeatBitServer, connect: Connect) -> None:
    """Accepted and closed with the chosen code, until accepted for good."""
    old = connect()
    assert old.is_in_touch()

    server.refuse(1011)
    assert 1011 == connect().close_code()
    assert old.is_in_touch()
    server.accept()

    assert connect().is_in_touch()
    assert [None, 1011, None] == [record.close_code for record in server.connections]


def test_handshakes_can_be_refused(server: FeatBitServer, connect: Connect) -> None:
    """With any status; 429 comes with what the rate limiter says."""
    server.refuse_handshake(429, retry_after=7)
    with pytest.raises(websocket.WebSocketBadStatusException) as limited:
        connect()
    server.refuse_handshake(503)
    with pytest.raises(websocket.WebSocketBadStatusException) as unavailable:
        connect()
    server.accept()

    assert connect().is_in_touch()
    assert (429, "7") == (limited.value.status_code, (limited.value.resp_headers or {})["retry-after"])
    assert b"Rate limit exceeded" in (limited.value.resp_body or b"")
    assert (503, False) == (
        unavailable.value.status_code,
        "retry-after" in (unavailable.value.resp_headers or {}),
    )
    assert [429, 503, 101] == [record.status for record in server.connections]
    assert 1 == server.max_open_connections


def test_a_stalled_server_is_silent(server: FeatBitServer, connect: Connect) -> None:
    """It accepts and reads, and sends nothing whatsoever until it goes on."""
    server.stall()
    client = connect()
    client.ask()
    client.send({"messageType": "ping", "data": None})
    client.socket.ping()
    assert server.wait_for(lambda s: len(s.connections[0].messages) == 2)
    server.update_flag("dark-mode", isEnabled=False)
    server.stall(False)

    assert client.is_in_touch()
    assert 1 == server.open_connections


def test_a_stalled_server_says_no_goodbye(server: FeatBitServer, connect: Connect) -> None:
    """The end of a connection is noticed but not answered with a close frame."""
    server.stall()
    client = connect()
    client.socket.send_close(1000)

    assert client.close_code() is None
    assert 1000 == server.connections[0].close_code


def test_questions_can_be_left_open(server: FeatBitServer, connect: Connect) -> None:
    """A muted server pushes and answers pings, but no data-sync."""
    server.mute_data_sync()
    client = connect()
    client.ask(5)
    assert client.is_in_touch()
    server.put_flag(flag("new"))
    assert "new" == client.receive()["data"]["featureFlags"][0]["key"]
    server.mute_data_sync(False)

    assert "patch" == client.sync(5)["eventType"]
    assert [5, 5] == server.connections[0].cursors


# Records


def test_waiting_ends_with_the_change(server: FeatBitServer, connect: Connect) -> None:
    """A wait for what happens later is true, a wait for what does not is false in time."""
    timer = threading.Timer(0.05, connect)
    timer.start()

    assert server.wait_for(lambda s: s.open_connections == 1)
    timer.join()
    assert not server.wait_for(lambda s: s.open_connections == 2, timeout=0.01)


def test_events_can_be_forgotten(server: FeatBitServer) -> None:
    """Only the events: requests stay."""
    requests.post(
        f"{server.event_url}/api/public/insight/track",
        json=[{"user": {"keyId": "u1"}}],
        headers={"Authorization": server.secret},
        timeout=5,
    )
    assert 1 == server.event_count

    server.clear_events()

    assert (0, []) == (server.event_count, server.events)
    assert 1 == len(server.insight_requests)


def test_many_threads_may_change_it(server: FeatBitServer, connect: Connect) -> None:
    """Changes from several threads are pushed in the order of their stamps."""
    client = connect()
    client.sync()

    def change(number: int) -> None:
        for _ in range(25):
            server.update_flag("dark-mode", name=str(number))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    versions = [version_of(client.receive()["data"]["featureFlags"][0]["updatedAt"]) for _ in range(25 * len(threads))]
    for thread in threads:
        thread.join()

    assert sorted(set(versions)) == versions


def test_adopting_a_bootstrap(server: FeatBitServer, connect: Connect) -> None:
    """What differs is stamped anew and pushed, an item a message; what is missing is archived; stamps do not count."""
    server.load(bootstrap([flag("same"), flag("new"), flag("old")], [segment("staff"), segment("gone")]))
    client = connect()
    client.sync()
    sent = bootstrap([flag("same", updated_at=1), flag("new", serve=False)], [segment("staff", included=["ada"])])

    changed = server.adopt(sent)
    pushed = [client.receive()["data"] for _ in range(4)]

    assert ["flag new", "flag old", "segment " + STAFF, "segment " + segment_id("gone")] == changed
    assert [1] * 4 == [len(data["featureFlags"]) + len(data["segments"]) for data in pushed]
    assert [False, True] == [data["featureFlags"][0]["isArchived"] for data in pushed[:2]]
    assert [False, True] == [data["segments"][0]["isArchived"] for data in pushed[2:]]
    assert all(version_of(data["featureFlags"][0]["updatedAt"]) > 1_700_000_000_000 for data in pushed[:2])
    assert [] == server.adopt(sent)
    assert ["flag old"] == server.adopt(
        bootstrap([*sent["data"]["featureFlags"], flag("old")], sent["data"]["segments"])
    )
    assert server.flag("old")["isArchived"] is False


def test_what_is_no_bootstrap_is_not_adopted(server: FeatBitServer) -> None:
    """Nothing is changed then."""
    server.load(bootstrap([flag("same")]))
    with pytest.raises(MessageError):
        server.adopt({"featureFlags": [{"key": 5}]})

    assert server.flag("same")["isArchived"] is False

"""What a websocket client of the server sees."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import websocket

from fbshared.testing import FeatBitServer, flag, make_secret, message, segment

Connect = Callable[..., Any]
Token = Callable[..., str]


def keys(data: dict[str, Any]) -> list[str]:
    return [raw["key"] for raw in data["featureFlags"]] + [raw["name"] for raw in data["segments"]]


@pytest.mark.parametrize("timestamp", [0, None])
def test_zero_asks_for_everything(connect: Connect, timestamp: int | None) -> None:
    """The answer is a full with archived items."""
    data = connect().sync(timestamp)

    assert "full" == data["eventType"]
    assert ["dark-mode", "old-basket", "staff"] == keys(data)


def test_a_missing_timestamp_is_zero(connect: Connect) -> None:
    """An empty data object and a null ask for everything."""
    client = connect()
    for data in ({}, None):
        client.send({"messageType": "data-sync", "data": data})

        assert "full" == client.receive()["data"]["eventType"]


@pytest.mark.parametrize(
    ("timestamp", "newer"),
    [(999, ["dark-mode", "old-basket", "staff"]), (1_000, ["old-basket", "staff"]), (3_000, [])],
)
def test_a_time_asks_for_what_is_newer(connect: Connect, timestamp: int, newer: list[str]) -> None:
    """The answer is a patch, even if it is empty."""
    data = connect().sync(timestamp)

    assert "patch" == data["eventType"]
    assert newer == keys(data)


def test_an_empty_environment_has_an_empty_full(server: FeatBitServer, connect: Connect) -> None:
    """Nothing at all is an answer too."""
    server.load({"featureFlags": [], "segments": []})

    assert {"eventType": "full", "featureFlags": [], "segments": []} == connect().sync()


def test_questions_that_cannot_be_read_have_no_answer(connect: Connect) -> None:
    """A timestamp that is no integer leaves the connection open and silent."""
    client = connect()
    for timestamp in ("0", 1.5, True, []):
        client.ask(timestamp)
    client.send({"messageType": "data-sync", "data": 5})

    assert client.is_in_touch()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"messageType":"ping"}',
        '{"data":null}',
        '{"messageType":null,"data":null}',
        '{"messageType":"unknown","data":null}',
        "[" * 8_000,
    ],
)
def test_what_is_not_understood_is_ignored(connect: Connect, text: str) -> None:
    """Neither an answer nor an end of the connection follows."""
    client = connect()
    client.send(text)

    assert client.is_in_touch()


@pytest.mark.parametrize("kind", ["ping", "PING", "Ping"])
@pytest.mark.parametrize("data", [None, {}, {"timestamp": 0}])
def test_pings_are_answered(connect: Connect, kind: str, data: object) -> None:
    """The case of the type and the content of the data do not matter."""
    client = connect()
    client.send({"messageType": kind, "data": data})

    assert {"messageType": "pong", "data": {}} == client.receive()


def test_ping_frames_are_answered(connect: Connect) -> None:
    """A ping of the websocket protocol gets its pong."""
    client = connect()
    client.socket.ping("hello")

    assert (websocket.ABNF.OPCODE_PONG, b"hello") == client.socket.recv_data(control_frame=True)


def test_binary_messages_are_ignored(connect: Connect) -> None:
    """FeatBit speaks text."""
    client = connect()
    client.socket.send_binary(b'{"messageType":"data-sync","data":null}')

    assert client.is_in_touch()


def test_messages_have_a_limit(connect: Connect) -> None:
    """Eight KiB are read, more is dropped, and what follows the dropped part is a new message."""
    client = connect()
    ask = '{"messageType":"data-sync","data":{"timestamp":3000}}'
    client.send(ask.ljust(8192))
    client.send(ask.ljust(8193))
    client.send(" " * 8192 + ask)

    assert "patch" == client.receive()["data"]["eventType"]
    assert "patch" == client.receive()["data"]["eventType"]
    assert client.is_in_touch()


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_known_versions_are_served(connect: Connect, version: str) -> None:
    """The version changes nothing."""
    assert "full" == connect(version=version).sync()["eventType"]


@pytest.mark.parametrize(
    "query",
    [
        {"type": "client"},
        {"type": "relay-proxy"},
        {"type": "other"},
        {"version": "3"},
        {"token": ""},
        {"token": "QQWBS"},
    ],
)
def test_bad_requests_are_closed(server: FeatBitServer, connect: Connect, query: dict[str, str]) -> None:
    """They are accepted first, then closed with 4003, and never count as open."""
    client = connect(**query)

    assert 4003 == client.close_code()
    assert server.wait_for(lambda s: s.connections[0].close_code == 4003)
    assert (0, 0) == (server.open_connections, server.max_open_connections)


def test_an_unknown_secret_is_closed(connect: Connect, token: Token) -> None:
    """A well-formed secret which the server does not have gets 4003."""
    assert 4003 == connect(token=token(make_secret())).close_code()


@pytest.mark.parametrize("age", [-35, 35])
def test_old_and_future_tokens_are_closed(server: FeatBitServer, connect: Connect, token: Token, age: float) -> None:
    """A token is valid for thirty seconds before and after its time."""
    assert 4003 == connect(token=token(server.secret, age)).close_code()


@pytest.mark.parametrize("age", [-25, 25])
def test_fresh_tokens_are_served(server: FeatBitServer, connect: Connect, token: Token, age: float) -> None:
    """Small differences of the clocks do not matter."""
    assert "full" == connect(token=token(server.secret, age)).sync()["eventType"]


@pytest.mark.parametrize("position", [0, 2, 43, 44])
def test_every_position_is_served(server: FeatBitServer, connect: Connect, token: Token, position: int) -> None:
    """The time may stand anywhere in the secret."""
    assert "full" == connect(token=token(server.secret, 0, position)).sync()["eventType"]


def test_a_wrong_clock_refuses_and_shows(server: FeatBitServer, connect: Connect) -> None:
    """With an offset good tokens are refused, and the Date header tells why."""
    right = connect().socket.getheaders()["date"]
    server.clock_offset = 86_400 * 400
    client = connect()

    assert 4003 == client.close_code()
    assert right[12:16] != client.socket.getheaders()["date"][12:16]


def test_other_paths_are_no_stream(server: FeatBitServer) -> None:
    """An upgrade elsewhere, below a prefix for example, is not found."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(f"{server.streaming_url}/base/streaming", timeout=5)

    assert 404 == refused.value.status_code


def test_compression_is_not_offered(connect: Connect) -> None:
    """A real server negotiates no extension."""
    assert "sec-websocket-extensions" not in connect().socket.getheaders()


def test_changes_are_pushed_to_all(server: FeatBitServer, connect: Connect) -> None:
    """Also to a connection that has asked for nothing yet: a patch can be there before the answer."""
    clients = [connect(), connect()]

    server.update_flag("dark-mode", isEnabled=False)

    for client in clients:
        assert message("patch", [server.flag("dark-mode")]) == json.dumps(client.receive(), separators=(",", ":"))
        assert ["dark-mode", "old-basket", "staff"] == keys(client.sync())


def test_messages_keep_their_order(server: FeatBitServer, connect: Connect) -> None:
    """What was sent first arrives first, large or small, and a close frame comes last."""
    client = connect()
    texts = [json.dumps("x" * (500_000 if n % 3 == 0 else n)) for n in range(12)]

    for text in texts:
        server.send_raw(text)
    server.drop_connections(1001)

    assert texts == [client.socket.recv() for _ in texts]
    assert 1001 == client.close_code()


def test_a_slow_reader_delays_nobody(server: FeatBitServer, connect: Connect) -> None:
    """A connection that reads nothing does not keep pushes from another."""
    slow, quick = connect(), connect()

    large = json.dumps("x" * 10_000_000)
    server.send_raw(large)

    assert large == quick.socket.recv()
    assert quick.is_in_touch()
    assert large == slow.socket.recv()


def test_the_client_may_end_it(server: FeatBitServer, connect: Connect) -> None:
    """The server answers with the same code, notes it, and counts the connection no more."""
    client = connect()
    client.socket.send_close(1001)

    assert 1001 == client.close_code()
    assert server.wait_for(lambda s: s.open_connections == 0)
    assert 1001 == server.connections[0].close_code


def test_a_close_frame_without_a_code_is_answered(server: FeatBitServer, connect: Connect) -> None:
    """It is noted as 1005, which means that there was none."""
    client = connect()
    client.socket.send(b"", websocket.ABNF.OPCODE_CLOSE)

    assert client.close_code() == 1000
    assert server.wait_for(lambda s: s.connections[0].close_code == 1005)


def test_the_client_may_vanish(server: FeatBitServer, connect: Connect) -> None:
    """A connection that breaks is closed without a code."""
    client = connect()
    client.socket.shutdown()

    assert server.wait_for(lambda s: s.connections[0].closed_at is not None)
    assert server.connections[0].close_code is None


def test_connections_are_recorded(server: FeatBitServer, connect: Connect) -> None:
    """Query, headers, messages and cursors of every connection can be read, the number of open ones too."""
    first, second = connect(version="2"), connect()
    first.sync(0)
    first.sync(1_000)
    assert first.is_in_touch()
    second.socket.close()
    assert server.wait_for(lambda s: s.open_connections == 1)

    one, two = server.connections
    assert (1, 2) == (one.number, two.number)
    assert ("server", "2") == (one.query["type"], one.query["version"])
    assert "websocket" == one.headers["Upgrade"]
    assert [0, 1_000] == one.cursors
    assert ["data-sync", "data-sync", "ping"] == [json.loads(text)["messageType"] for text in one.messages]
    assert one.accepted_at <= two.accepted_at <= (two.closed_at or 0)
    assert one.closed_at is None
    assert 2 == server.max_open_connections


def test_several_changes_in_one_message(server: FeatBitServer, connect: Connect) -> None:
    """A patch may carry flags and segments, in the order of their stamps."""
    client = connect()
    client.sync()

    server.patch(flags=[flag("b"), flag("a")], segments=[segment("s")])

    data = client.receive()["data"]
    assert ["b", "a", "s"] == keys(data)
    stamps = [raw["updatedAt"] for raw in data["featureFlags"] + data["segments"]]
    assert sorted(stamps) == stamps

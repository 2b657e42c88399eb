"""The client as an application sees it: a live server, one process."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fbshared
from fbshared import AllFlagStates, Config, ConfigError, EvalDetail, FBClient, RegionError
from fbshared.shm.control import RETIRED
from fbshared.shm.region import snapshot_name
from fbshared.testing import FeatBitServer, bootstrap, condition, flag, in_segment, rule, segment, segment_id
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada", "age": 36}
DATA = bootstrap(
    [
        flag("on"),
        flag("off", enabled=False),
        flag("text", "string", ["a", "b"]),
        flag("number", "number", ["1.5", "2"]),
        flag("whole", "number", ["7", "8"]),
        flag("json", "json", [{"a": [1]}, {}]),
        flag("staff", rules=[rule(True, in_segment("staff"), name="Staff")], serve=False),
        flag("quiet", insights_enabled=False),
        flag("gone", archived=True),
        flag("broken") | {"fallthrough": 5},
    ],
    [segment("staff", included=["ada"])],
)
ALL = {"on", "off", "text", "number", "whole", "json", "staff", "quiet"}


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(DATA) as server:
        yield server


Make = Callable[..., FBClient]


@pytest.fixture
def make(server: FeatBitServer) -> Iterator[Make]:
    made: list[FBClient] = []

    def client(start_wait: float = 10.0, **changes: Any) -> FBClient:
        values = {"events_flush_interval": 0.02, "streaming_first_retry_delay": 0.05} | changes
        made.append(FBClient(Config(server.secret, server.event_url, server.streaming_url, **values), start_wait))
        return made[-1]

    yield client
    for each in made:
        each.stop(5)


@pytest.fixture
def client(make: Make) -> FBClient:
    return make()


def failures(client: FBClient) -> int:
    """How many evaluations of this process gave no value because something was wrong."""
    return sum(ring.failures for ring in client._member.outbox.rings.values())


def sent(server: FeatBitServer, client: FBClient) -> list[tuple[str, str]]:
    """Kind and flag or metric of all events so far."""
    assert client.flush(10)
    return [
        (event.kind, event.payload.get("featureFlagKey") or event.payload.get("eventName") or event.user["keyId"])
        for event in server.events
    ]


# Evaluation


def test_values(client: FBClient, server: FeatBitServer) -> None:
    """Every type of flag has a value of its type, and every evaluation an event."""
    keys = ["on", "off", "text", "number", "whole", "json", "staff"]
    values = [client.variation(key, USER) for key in keys]

    assert [True, False, "a", 1.5, 7, {"a": [1]}, True] == values
    assert isinstance(values[4], int)
    assert [("variation", key) for key in keys] == sent(server, client)


def test_details(client: FBClient, server: FeatBitServer) -> None:
    """The detail says why; its event is the same."""
    detail = client.variation_detail("staff", USER, "default")

    assert ("rule match", True, "staff", "staff") == (detail.reason, detail.variation, detail.key_name, detail.name)
    assert (detail.variation_id == sent(server, client) and False) or detail.variation_id
    assert "fall through all rules" == client.variation_detail("staff", {"key": "bob", "name": "Bob"}).reason
    assert "flag off" == client.variation_detail("off", USER).reason
    assert [("variation", "staff"), ("variation", "staff"), ("variation", "off")] == sent(server, client)


@pytest.mark.parametrize(
    ("key", "user", "reason"),
    [
        ("unknown", USER, "flag not found"),
        ("gone", USER, "flag not found"),
        ("on", None, "user not specified"),
        ("on", {}, "user not specified"),
        ("on", {"key": "", "name": "x"}, "user not specified"),
        ("on", "ada", "user not specified"),
        ("broken", USER, "error in evaluation"),
    ],
)
def test_defaults(make: Make, server: FeatBitServer, key: str, user: Any, reason: str) -> None:
    """Where there is no value there is the default itself, with the reason, and no event."""
    client = make()
    default = object()
    first, again = client.variation(key, user, default), client.variation(key, user, default)
    detail = client.variation_detail(key, user, default)

    assert first is again is detail.variation is default
    assert (reason, None) == (detail.reason, detail.variation_id)
    assert [] == sent(server, client)


def test_configured_defaults_win(make: Make) -> None:
    """A default of the configuration wins over the one of the call, and no value wins over neither."""
    client = make(defaults={"unknown": 7, "on": "never", "broken": None})

    assert (7, True, None) == tuple(client.variation(key, USER, "x") for key in ("unknown", "on", "broken"))
    assert 7 == client.variation_detail("unknown", USER, "x").variation


class Evil:
    """Raises whatever is asked of it."""

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("eq")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__

    def __getattr__(self, _: str) -> Any:
        raise RuntimeError("attribute")


class EvilDict(dict[str, Any]):
    """A user that raises."""

    def get(self, *_: Any) -> Any:
        raise RuntimeError("get")

    def __getitem__(self, _: str) -> Any:
        raise RuntimeError("getitem")

    def __iter__(self) -> Any:
        raise RuntimeError("iter")


ODD = [None, 5, 1.5, b"on", [], {}, (), object(), Evil(), "", "\ud800", "x" * 100_000]
ODD_USERS = [
    None,
    "ada",
    5,
    [],
    Evil(),
    EvilDict(key="ada", name="Ada"),
    {"key": "ada", "name": "Ada", "other": Evil()},
    {"key": "ada", "name": "Ada", Evil: 1, 5: 6, None: None},
    {"key": 5, "name": "Ada"},
    {"key": "\ud800", "name": "\ud800", "x": "\ud800"},
    {"key": "ada", "name": "Ada", "deep": [[[{}]]], "huge": 2**100, "nan": float("nan")},
    {"key": "ada", "name": "x" * 200_000},
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_keys(make: Make, number: int) -> None:
    """Whatever is given for a key, nothing raises and the default comes back untouched."""
    client, default, key = make(), object(), ODD[number]

    assert default is client.variation(key, USER, default)  # type: ignore[arg-type]
    assert default is client.variation_detail(key, USER, default).variation  # type: ignore[arg-type]
    assert client.is_flag_known(key) is False  # type: ignore[arg-type]
    assert default is client.get_all_latest_flag_variations(USER).get_variation(key, default)  # type: ignore[arg-type]
    client.track_metric(USER, key, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", range(len(ODD_USERS)))
def test_odd_users(make: Make, number: int) -> None:
    """Whatever is given for a user, nothing raises, and others go on as before."""
    client, user = make(), ODD_USERS[number]
    for key in ("on", "staff", "text", "unknown"):
        client.variation(key, user)  # type: ignore[arg-type]
        assert isinstance(client.variation_detail(key, user), EvalDetail)  # type: ignore[arg-type]
    states = client.get_all_latest_flag_variations(user)  # type: ignore[arg-type]
    assert isinstance(states, AllFlagStates)
    for key in list(states.keys()):
        states.get(key)
    client.identify(user)  # type: ignore[arg-type]
    client.track_metric(user, "bought")  # type: ignore[arg-type]
    client.track_metrics(user, {"bought": 1, "": 2, "x": Evil(), None: 3})  # type: ignore[arg-type, dict-item]
    client.track_metrics(user, Evil())  # type: ignore[arg-type]
    client.track_metrics(USER, None)  # type: ignore[arg-type]

    assert client.variation("on", USER) is True
    assert client.flush(10)


def test_a_regular_expression_that_takes_too_long(
    client: FBClient, server: FeatBitServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With the extra, it is an error of this one evaluation, counted each time and logged once."""
    pytest.importorskip("regex")
    server.put_flag(flag("slow", rules=[rule(False, condition("p", "MatchRegex", "(a|a)*$"))]))
    assert eventually(lambda: client.is_flag_known("slow"))
    before = failures(client)
    details = [client.variation_detail("slow", USER | {"p": "a" * 60 + "b"}, "default") for _ in range(2)]

    assert [("default", "error in evaluation")] * 2 == [(each.variation, each.reason) for each in details]
    assert before + 2 == failures(client)
    assert 1 == caplog.text.count("a regular expression takes too long")
    assert client.variation("slow", USER | {"p": "aa"}) is False
    assert "slow" in client.get_all_latest_flag_variations(USER).keys()  # noqa: SIM118 - it is no dict


def test_refused_events_are_no_trouble_for_the_rest(client: FBClient, server: FeatBitServer) -> None:
    """While FeatBit takes no events at all, changes arrive and evaluations have their values."""
    server.fail_insights_forever(401)
    assert client.variation("on", USER) is True
    assert not client.flush(0.1)
    server.update_flag("on", isEnabled=False)

    assert eventually(lambda: client.variation("on", USER) is False)


def test_a_value_is_fresh(client: FBClient) -> None:
    """What one caller does to a list or an object does not reach the next."""
    client.variation("json", USER)["a"].append(2)

    assert {"a": [1]} == client.variation("json", USER)


def test_a_change_is_seen(client: FBClient, server: FeatBitServer) -> None:
    """A flag and a segment that change are seen at the next evaluations, and a flag that is new or archived."""
    assert client.variation("staff", USER) is True
    server.update_segment(segment_id("staff"), included=[])
    assert eventually(lambda: client.variation("staff", USER) is False)
    assert client.variation("new", USER) is None
    server.put_flag(flag("new"))
    assert eventually(lambda: client.variation("new", USER) is True)
    assert client.is_flag_known("new")
    server.archive_flag("new")
    assert eventually(lambda: client.variation("new", USER) is None)
    assert not client.is_flag_known("new")


# All flags


def test_all_flags(client: FBClient, server: FeatBitServer) -> None:
    """Every flag that has a value, from one snapshot; only getting one sends its event."""
    states = client.get_all_latest_flag_variations(USER)
    assert (True, "OK", ALL) == (states.success, states.reason, set(states.keys()))
    states.to_json_str()
    assert [] == sent(server, client)

    assert states.get_variation("text") == "a"
    assert states.get("quiet").variation is True
    assert states.get_variation("unknown", 5) == 5
    assert [("variation", "text")] == sent(server, client)
    assert "user not specified" == client.get_all_latest_flag_variations(None).reason  # type: ignore[arg-type]


def test_quiet_flags(client: FBClient, server: FeatBitServer) -> None:
    """A flag without insights sends no event."""
    assert client.variation("quiet", USER) is True
    assert [] == sent(server, client)


# Events


def test_metrics_and_users(client: FBClient, server: FeatBitServer, caplog: pytest.LogCaptureFixture) -> None:
    """A metric has a name and a number; what has not is left out with a warning."""
    client.identify(USER)
    client.track_metric(USER, "bought")
    client.track_metrics(USER, {"sold": 2.5, "bad": float("nan"), "": 1.0})
    client.track_metrics(USER, {})
    client.track_metric({}, "nobody")
    client.identify({})

    assert [("user", "ada"), ("metric", "bought"), ("metric", "sold")] == sent(server, client)
    assert [1.0, 2.5] == [event.payload["numericValue"] for event in server.events if event.kind == "metric"]
    assert 2 <= len([record for record in caplog.records if "metric needs" in record.message])


def test_flushing(client: FBClient, server: FeatBitServer) -> None:
    """It says whether everything is delivered, and waits no longer than it was told."""
    assert client.flush()
    server.fail_insights_forever(503)
    client.variation("on", USER)
    before = time.monotonic()
    assert not client.flush(0.1)
    assert not client.flush(-1)
    assert time.monotonic() - before < 5
    server.heal_insights()

    assert client.flush(10)


# Life


def test_waiting_for_data(server: FeatBitServer, make: Make) -> None:
    """Without data there are defaults; with a wait there is data, without one there is some soon."""
    server.mute_data_sync()
    before = time.monotonic()
    client = make(start_wait=0.2)
    assert 0.2 <= time.monotonic() - before < 5
    assert not client.initialize
    assert "client not ready" == client.variation_detail("on", USER).reason
    assert "client not ready" == client.get_all_latest_flag_variations(USER).reason
    assert not client.is_flag_known("on")
    assert 5 == client.variation("on", USER, 5)
    assert server.wait_for(lambda s: s.connections and s.connections[0].cursors)
    server.send_raw(server.message())

    assert eventually(lambda: client.initialize)
    assert client.variation("on", USER) is True


def test_a_refused_environment_is_not_waited_for(
    server: FeatBitServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """FeatBit's refusal ends the wait early and is said."""
    server.refuse(4003)
    before = time.monotonic()
    client = make(start_wait=30)

    assert time.monotonic() - before < 10
    assert not client.initialize
    assert "4003" in caplog.text


@pytest.mark.parametrize("start_wait", [float("nan"), float("inf"), "5", None])
def test_a_wait_that_is_none(make: Make, start_wait: Any) -> None:
    """It is refused before anything is made."""
    with pytest.raises(ConfigError, match="start_wait"):
        make(start_wait=start_wait)


def test_what_is_no_configuration() -> None:
    """It is refused."""
    with pytest.raises(ConfigError):
        FBClient({"env_secret": "x"})  # type: ignore[arg-type]


def test_an_unusable_directory(server: FeatBitServer, make: Make, shared_directory: Path) -> None:
    """A directory that others can enter is refused with its path."""
    home = shared_directory / f"fbshared-{os.geteuid()}"
    home.mkdir()
    home.chmod(0o755)

    with pytest.raises(RegionError, match=str(home)):
        make()


def test_stopping(client: FBClient, server: FeatBitServer) -> None:
    """A stop delivers, can be said again, and leaves evaluation as it is, without events."""
    client.variation("on", USER)
    client.stop()
    client.stop()

    assert 1 == server.event_count
    assert client.variation("on", USER) is True
    assert client.variation("text", USER) == "a"
    assert "rule match" == client.variation_detail("staff", USER).reason
    assert client.get_all_latest_flag_variations(USER).get_variation("on") is True
    client.track_metric(USER, "bought")
    client.identify(USER)
    assert client.initialize
    assert not client.is_leader
    client.flush()
    assert not eventually(lambda: server.event_count > 1, timeout=0.2)
    assert 0 == server.open_connections


def test_a_context(server: FeatBitServer, make: Make) -> None:
    """Leaving it is stopping."""
    with make() as client:
        assert client.is_leader
        assert "leader=True" in repr(client)
        assert server.secret not in repr(client)

    assert not client.is_leader


def test_two_clients_share_a_member(server: FeatBitServer, make: Make) -> None:
    """Clients of one environment in one process have one connection and one ring; the last one closes."""
    first, second = make(), make()
    assert first._member is second._member
    assert 1 == len(server.connections)
    first.stop()
    assert second.is_leader
    first.variation("on", USER)
    second.variation("text", USER)
    assert [("variation", "text")] == sent(server, second)
    second.stop()

    assert server.wait_for(lambda s: s.open_connections == 0)
    third = make()
    assert third._member is not second._member
    assert third.variation("on", USER) is True


def test_a_follower(server: FeatBitServer, make: Make) -> None:
    """It starts no thread and makes no connection; it evaluates what a leader publishes."""
    before = threading.active_count()
    client = make(start_wait=0.1, role="follower")

    assert before == threading.active_count()
    assert (False, False) == (client.is_leader, client.initialize)
    assert [] == server.connections


def test_a_secret_of_another_form(server: FeatBitServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is taken, with a warning that does not repeat it."""
    config = Config("not-a-real-secret", server.event_url, server.streaming_url)
    with FBClient(config, start_wait=5) as client:
        assert not client.initialize

    assert "does not look like" in caplog.text
    assert "not-a-real-secret" not in caplog.text


def test_it_goes_on_without_a_directory(client: FBClient, server: FeatBitServer) -> None:
    """A removed region costs nothing: evaluation goes on, events arrive, and a new region is there soon."""
    client.variation("on", USER)
    region = client._member.region
    for name in os.listdir(region.path):
        os.unlink(region.join(name))
    os.rmdir(region.path)

    for _ in range(100):
        assert client.variation("on", USER) is True
    assert eventually(lambda: client._member.region is not region)
    assert RETIRED == region.control.publication
    assert eventually(lambda: client.is_leader)
    server.update_flag("text", isEnabled=False)
    assert eventually(lambda: client.variation("text", USER) == "b")
    assert client.flush(10)
    assert [("variation", "on")] * 101 == sent(server, client)[:101]


# Damage


def damaged(client: FBClient, change: Callable[[bytearray], None]) -> int:
    """Damage the present snapshot under its name, as a broken disk would; its publication word."""
    region = client._member.region
    word = region.control.publication
    path = Path(region.join(snapshot_name(word)))
    content = bytearray(path.read_bytes())
    change(content)
    path.unlink()
    path.write_bytes(content)
    return word


def test_a_damaged_flag(client: FBClient, server: FeatBitServer, caplog: pytest.LogCaptureFixture) -> None:
    """It answers its default, is counted and said once, and is good again after the leader published again."""
    assert client.variation("on", USER) is True

    def change(content: bytearray) -> None:
        at = content.index(b"text")
        content[at + 20] ^= 1

    word = damaged(client, change)
    with caplog.at_level(logging.WARNING):
        detail = client.variation_detail("text", USER, "default")
    assert ("error in evaluation", "default") == (detail.reason, detail.variation)
    assert client.variation("on", USER) is True

    assert eventually(lambda: client._member.region.control.publication > word)
    assert eventually(lambda: client.variation("text", USER) == "a")
    assert 1 == len([record for record in caplog.records if "cannot be read" in record.message])
    assert client._member.region.control.items_broken >= 1


def test_all_flags_of_a_damaged_snapshot(client: FBClient, server: FeatBitServer) -> None:
    """The damaged one is left out, the others are there."""

    def change(content: bytearray) -> None:
        at = content.index(b"text")
        content[at + 20] ^= 1

    damaged(client, change)
    states = client.get_all_latest_flag_variations(USER)

    assert states.success
    assert ALL - {"text"} <= set(states.keys()) <= ALL
    assert eventually(lambda: ALL == set(client.get_all_latest_flag_variations(USER).keys()))


def test_all_flags_when_no_snapshot_can_be_read(client: FBClient) -> None:
    """It is no success, and has what was used before; with the next publication all is well."""
    assert client.variation("on", USER) is True
    region = client._member.region

    def lost() -> bool:
        for name in region.names("snapshot."):
            Path(region.join(name)).unlink(missing_ok=True)
        states = client.get_all_latest_flag_variations(USER)
        return (states.success, states.reason, set(states.keys())) == (False, "error in evaluation", {"on"})

    assert eventually(lost)
    assert eventually(lambda: ALL == set(client.get_all_latest_flag_variations(USER).keys()))
    assert client.get_all_latest_flag_variations(USER).success


def test_a_publication_that_is_no_snapshot(client: FBClient, server: FeatBitServer) -> None:
    """What cannot be adopted leaves the former state, and the leader publishes again."""
    assert client.variation("on", USER) is True
    region = client._member.region
    word = region.control.publication + 1
    Path(region.join(snapshot_name(word))).write_bytes(b"nonsense")
    region.control.publication = word

    assert client.variation("on", USER) is True
    server.update_flag("on", isEnabled=False)
    server.update_flag("text", isEnabled=False)
    assert eventually(lambda: client.variation("on", USER) is False)


# The singleton has its own file; here is what everything exports


def test_public_names() -> None:
    """Everything that is promised is there."""
    assert all(hasattr(fbshared, name) for name in fbshared.__all__)
    assert fbshared.start_wait > 0


def test_two_environments(make: Make, server: FeatBitServer) -> None:
    """Two clients of one process have their own flags, defaults, connections and events."""
    with FeatBitServer(bootstrap([flag("on", serve=False)])) as other:
        first = make(defaults={"none": 1})
        config = first._config.copy_config_in_a_new_env(other.secret, {"none": 2})
        second = FBClient(replace(config, event_url=other.event_url, streaming_url=other.streaming_url), 10)
        values = [client.variation(key, USER) for client in (first, second) for key in ("on", "none")]
        delivered = first.flush(10) and second.flush(10)
        second.stop(5)

        assert [True, 1, False, 2] == values
        assert delivered
        assert [["on"], ["on"]] == [[event.payload["featureFlagKey"] for event in s.events] for s in (server, other)]
        assert (1, 1) == (len(server.connections), len(other.connections))


def test_a_configured_default_is_a_copy(make: Make) -> None:
    """Who changes what they got changes nothing for others."""
    client = make(defaults={"none": {"list": []}})
    client.variation("none", USER)["list"].append(1)

    assert {"list": []} == client.variation("none", USER) == client.variation_detail("none", USER).variation

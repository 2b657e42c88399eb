"""Evaluation for who expects a type: the value is of it, or it is the default and the reason says so."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from fbshared import Config, FBClient, FBUser
from fbshared.testing import FeatBitServer, bootstrap, flag

ADA = {"key": "ada", "name": "Ada"}
FLAGS = [
    flag("bool"),
    flag("odd-bool", variations=["yes", "no"]),
    flag("str", "string", ["a", "b"]),
    flag("int", "number", ["3", "4"]),
    flag("whole", "number", ["3.0", "4"]),
    flag("float", "number", ["1.5", "4"]),
    flag("inf", "number", ["1e400", "4"]),
    flag("no-number", "number", ["abc", "4"]),
    flag("object", "json", [{"a": [1]}, {}]),
    flag("list", "json", [[1, 2], []]),
    flag("json-bool", "json", ["true", "false"]),
    flag("json-null", "json", ["null", "{}"]),
    flag("huge", "json", ["1" + "0" * 400, "{}"]),
    flag("quiet", insights_enabled=False),
]
KINDS = ["bool", "int", "float", "str", "json"]
ANSWERS: dict[str, dict[str, Any]] = {  # what each flag answers to whom; nobody else gets a value
    "bool": {"bool": True},
    "odd-bool": {"str": "yes"},
    "str": {"str": "a"},
    "int": {"int": 3, "float": 3.0},
    "whole": {"int": 3, "float": 3.0},
    "float": {"float": 1.5},
    "inf": {"float": math.inf},
    "no-number": {"str": "abc"},
    "object": {"json": {"a": [1]}},
    "list": {"json": [1, 2]},
    "json-bool": {"bool": True},
    "json-null": {},
    "huge": {"int": 10**400},
    "quiet": {"bool": True},
}


@pytest.fixture(scope="module")
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap(FLAGS)) as server:
        yield server


@pytest.fixture
def client(server: FeatBitServer) -> Iterator[FBClient]:
    defaults = {"missing": "configured", "odd-bool": True}
    config = Config(
        server.secret, server.event_url, server.streaming_url, events_flush_interval=0.02, defaults=defaults
    )
    with FBClient(config, 10) as client:
        yield client


def sent(server: FeatBitServer, client: FBClient, before: int) -> list[str]:
    assert client.flush(10)
    return [event.payload["featureFlagKey"] for event in server.events[before:]]


@pytest.mark.parametrize("kind", KINDS)
def test_values_by_type(client: FBClient, server: FeatBitServer, kind: str) -> None:
    """A value of the type is answered with an event; any other value is a default, of that very object, without."""
    before = len(server.events)
    default: Any = object()
    ask, ask_detail = getattr(client, f"{kind}_variation"), getattr(client, f"{kind}_variation_detail")
    for key, answers in ANSWERS.items():
        if key == "odd-bool":
            continue  # has a configured default
        value, detail = ask(key, ADA, default), ask_detail(key, ADA, default)
        if kind in answers:
            assert (answers[kind], type(answers[kind])) == (value, type(value))
            assert (value, "fall through all rules", key) == (detail.variation, detail.reason, detail.name)
            assert detail.variation_id is not None
        else:
            assert value is detail.variation is default
            assert ("wrong type", key, key, None) == (
                detail.reason,
                detail.key_name,
                detail.name,
                detail.variation_id,
            )

    expected = [key for key, answers in ANSWERS.items() if kind in answers and key not in ("quiet", "odd-bool")]
    assert sorted(expected * 2) == sorted(sent(server, client, before))


def test_a_default_of_the_configuration(client: FBClient) -> None:
    """It wins if it is of the type; of another type it is nobody's default."""
    assert "configured" == client.str_variation("missing", ADA, "call")
    assert 5 == client.int_variation("missing", ADA, 5)
    assert client.bool_variation("odd-bool", ADA, False) is True
    assert "yes" == client.str_variation("odd-bool", ADA)


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_at_all(client: FBClient, kind: str) -> None:
    """Where there is no flag or no user, the reason is the usual one, and nothing raises."""
    ask, ask_detail = getattr(client, f"{kind}_variation"), getattr(client, f"{kind}_variation_detail")

    assert ask("unknown", ADA) is None
    assert "flag not found" == ask_detail("unknown", ADA).reason
    assert ("user not specified", "flag name unknown") == (
        ask_detail("bool", {}).reason,
        ask_detail("bool", {}).name,
    )
    assert "flag key unknown" == ask_detail([], ADA).key_name
    assert ask(None, None) is None


def test_a_value_is_fresh(client: FBClient) -> None:
    """An object is the caller's own."""
    client.json_variation("object", ADA, {})["a"] = 7  # type: ignore[call-overload]

    assert {"a": [1]} == client.json_variation("object", ADA)


# Prepared users


def test_a_prepared_user_everywhere(client: FBClient, server: FeatBitServer) -> None:
    """It goes wherever a dict does, with the same results, and FeatBit is told the same."""
    before = len(server.events)
    raw = ADA | {"age": 36}
    for user in (raw, FBUser.from_dict(raw)):
        assert client.variation("bool", user) is True
        assert client.variation_detail("str", user).variation == "a"
        assert client.int_variation("int", user) == 3
        assert client.get_all_latest_flag_variations(user).get_variation("float") == 1.5
        client.identify(user)
        client.track_metric(user, "bought", 2)
        client.track_metrics(user, {"sold": 1})
    assert client.flush(10)
    events = server.events[before:]
    half = len(events) // 2

    assert 14 == len(events)
    assert [(event.kind, event.user) for event in events[:half]] == [(e.kind, e.user) for e in events[half:]]
    assert [{"name": "age", "value": "36"}] == events[-1].user["customizedProperties"]

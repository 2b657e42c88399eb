"""The one client of an application."""

import os
import threading
from collections.abc import Iterator

import pytest

import fbshared
from fbshared import Config, ConfigError, singleton
from fbshared.testing import FeatBitServer, bootstrap, flag

USER = {"key": "ada", "name": "Ada"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(singleton, "_choice", None)
    yield
    if singleton._choice is not None:
        for client in singleton._choice.clients.values():
            client.stop()


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("on")])) as started:
        yield started


def config_for(server: FeatBitServer, **changes: object) -> Config:
    return Config(server.secret, server.event_url, server.streaming_url, **changes)  # type: ignore[arg-type]


def test_it_needs_a_configuration() -> None:
    """Without one there is no client, and what is none is refused."""
    with pytest.raises(ConfigError, match="set_config"):
        fbshared.get()
    with pytest.raises(ConfigError):
        fbshared.set_config({})  # type: ignore[arg-type]


def test_there_is_one(server: FeatBitServer) -> None:
    """It is made at the first use, waits for data, and is the same for all threads."""
    fbshared.set_config(config_for(server))
    assert [] == server.connections
    found: list[fbshared.FBClient] = []
    threads = [threading.Thread(target=lambda: found.append(fbshared.get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {fbshared.get()} == set(found)
    assert fbshared.get().variation("on", USER) is True


def test_another_configuration(server: FeatBitServer) -> None:
    """It makes another client; the former one is stopped."""
    fbshared.set_config(config_for(server))
    first = fbshared.get()
    fbshared.set_config(config_for(server, defaults={"unknown": 7}))
    second = fbshared.get()

    assert first is not second
    assert 7 == second.variation("unknown", USER)
    assert not first.is_leader or first._member is second._member
    assert server.wait_for(lambda s: s.open_connections == 1)


def test_how_long_it_waits(server: FeatBitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """``fbshared.start_wait`` says so."""
    monkeypatch.setattr(fbshared, "start_wait", 0.05)
    server.mute_data_sync()
    fbshared.set_config(config_for(server))

    assert not fbshared.get().initialize


def test_another_configuration_while_it_is_made(server: FeatBitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the newest one is what everybody gets; the one that came too late is stopped."""
    first, second = config_for(server), config_for(server, defaults={"unknown": 7})
    made: list[fbshared.FBClient] = []

    def slow(config: Config, start_wait: float) -> fbshared.FBClient:
        made.append(fbshared.FBClient(config, start_wait))
        if config is first:
            fbshared.set_config(second)
        return made[-1]

    monkeypatch.setattr(singleton, "FBClient", slow)
    fbshared.set_config(first)
    client = fbshared.get()

    assert 2 == len(made)
    assert made[1] is client
    assert [True, False] == [each._closed for each in made]


def test_a_fork_while_it_is_made(server: FeatBitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child does not wait for a thread of its parent that is in the middle of making the client."""
    fbshared.set_config(config_for(server, role="follower"))
    begun, go_on = threading.Event(), threading.Event()

    def slow(config: Config, start_wait: float) -> fbshared.FBClient:
        begun.set()
        go_on.wait(20)
        return fbshared.FBClient(config, start_wait)

    monkeypatch.setattr(fbshared, "start_wait", 0)
    with monkeypatch.context() as patched:
        patched.setattr(singleton, "FBClient", slow)
        thread = threading.Thread(target=fbshared.get)
        thread.start()
        assert begun.wait(20)
    child = os.fork()
    if child == 0:
        os._exit(0 if fbshared.get().variation("on", USER, 5) == 5 else 1)
    status = os.waitpid(child, 0)
    go_on.set()
    thread.join()

    assert (child, 0) == status

"""A client that is offline: its bootstrap, and nothing else."""

import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fbshared import Config, FBClient, StateType
from fbshared.shm.control import PUBLICATION, SyncState
from fbshared.testing import bootstrap, flag, in_segment, rule, segment

USER = {"key": "ada", "name": "Ada"}
DATA = bootstrap(
    [flag("on"), flag("gone", archived=True), flag("staff", rules=[rule(True, in_segment("staff"))], serve=False)],
    [segment("staff", included=["ada"])],
)
TEXT = json.dumps(DATA)


def offline(**options: Any) -> FBClient:
    return FBClient(Config(offline=True, **options))


@pytest.fixture
def client() -> FBClient:
    made = offline()
    assert made.initialize_from_external_json(TEXT) is True
    return made


def test_before_the_bootstrap(shared_directory: Path) -> None:
    """There is no data, no thread and no file; nothing was waited for, and neither secret nor URL is needed."""
    threads = threading.active_count()
    client = offline()

    assert client.is_offline() is True
    assert client.initialize is False
    assert "client not ready" == client.variation_detail("on", USER, 5).reason
    assert 5 == client.variation("on", USER, 5)
    assert client.get_all_latest_flag_variations(USER).success is False
    assert StateType.INITIALIZING is client.update_status_provider.current_state.state_type
    assert client.is_flag_known("on") is False
    assert threads == threading.active_count()
    assert [] == list(shared_directory.iterdir())


def test_evaluating(client: FBClient, shared_directory: Path) -> None:
    """Flags and segments of the bootstrap are evaluated by every call there is."""
    assert client.initialize is True
    assert client.variation("on", USER) is True
    assert "rule match" == client.variation_detail("staff", USER).reason
    assert "flag not found" == client.variation_detail("gone", USER).reason
    assert {"on", "staff"} == set(client.get_all_latest_flag_variations(USER).keys())
    assert (True, False) == (client.is_flag_known("staff"), client.is_flag_known("gone"))
    assert SyncState.OK == client._member.region.control.sync_state
    assert StateType.OK is client.update_status_provider.current_state.state_type
    assert client.update_status_provider.data_age is None  # so that it never counts as old
    assert client._member.words[PUBLICATION] == client._member.view.word  # nothing is looked for again
    assert [] == list(shared_directory.iterdir())


def test_events_go_nowhere(client: FBClient) -> None:
    """They are taken, and a flush has nothing to wait for; after the end evaluation goes on."""
    client.track_metric(USER, "clicked")
    client.identify(USER)
    client.variation("on", USER)

    assert client.flush(5) is True
    assert client.is_leader is False
    client.stop()
    client.stop()
    assert client.variation("on", USER) is True


def test_a_second_bootstrap_replaces_the_first(client: FBClient) -> None:
    """Also an older one, and what is missing in it is gone."""
    assert client.variation("on", USER) is True

    assert client.initialize_from_external_json(json.dumps(bootstrap([flag("on", serve=False, updated_at=1000)])))

    assert client.variation("on", USER) is False
    assert client.is_flag_known("staff") is False


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"messageType":"pong"}', TEXT[:-20], b"\xff", None, 5, '{"messageType":"data-sync"}']
)
def test_what_is_no_bootstrap(client: FBClient, text: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused with a line in the log, and the former data stays."""
    assert client.initialize_from_external_json(text) is False

    assert "the bootstrap is not used" in caplog.text
    assert client.variation("on", USER) is True


def test_one_broken_item(caplog: pytest.LogCaptureFixture) -> None:
    """It takes no other with it, whether it has no key or makes no sense; the first is counted and logged."""
    client = offline()
    broken = bootstrap([flag("on"), flag("odd") | {"key": None}, flag("senseless") | {"fallthrough": 5}])

    assert client.initialize_from_external_json(json.dumps(broken)) is True

    assert client.variation("on", USER) is True
    assert "error in evaluation" == client.variation_detail("senseless", USER).reason
    assert "1 items of the bootstrap are not used" in caplog.text
    assert 1 == client._member.region.control.items_broken


def test_a_patch_is_as_good(client: FBClient) -> None:
    """As with FeatBit's own SDK it replaces everything, too."""
    patch = json.loads(json.dumps(DATA))
    patch["data"] |= {"eventType": "patch", "featureFlags": [flag("new")]}

    assert client.initialize_from_external_json(json.dumps(patch)) is True
    assert (True, False) == (client.is_flag_known("new"), client.is_flag_known("on"))


def test_a_forked_child(client: FBClient) -> None:
    """It evaluates what its parent had, used before or not, and a bootstrap of its own is its own."""
    client.variation("on", USER)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            seen = [client.variation("on", USER), client.variation("staff", USER)]
            client.initialize_from_external_json(json.dumps(bootstrap([flag("on", serve=False)])))
            code = 0 if [True, True, False] == [*seen, client.variation("on", USER)] else 1
        finally:
            os._exit(code)

    assert (child, 0) == os.waitpid(child, 0)
    assert client.variation("on", USER) is True


FORKED_IN_AN_IMPORT = """
import importlib.abc, os, signal, sys, threading, time
from fbshared import Config, FBClient

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "fbshared.core.items":
            begun.set()
            time.sleep(0.3)

begun = threading.Event()
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=FBClient, args=(Config(offline=True),))
thread.start()
assert begun.wait(10)
if os.fork() == 0:
    signal.alarm(20)
    FBClient(Config(offline=True))
    os._exit(7)
thread.join()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
WITHOUT_A_DESCRIPTOR = """
import os, resource, sys
from fbshared import Config, FBClient
client = FBClient(Config(offline=True))
resource.setrlimit(resource.RLIMIT_NOFILE, (os.open(os.devnull, os.O_RDONLY), 100))
print(client.initialize_from_external_json(sys.argv[1]), client.variation("on", {"key": "ada", "name": "Ada"}))
"""


@pytest.mark.parametrize(
    ("program", "expected"), [(FORKED_IN_AN_IMPORT, "7"), (WITHOUT_A_DESCRIPTOR, "True True")], ids=["fork", "files"]
)
def test_the_first_client_of_a_process(program: str, expected: str) -> None:
    """What it imports a fork waits for, and it is there before the bootstrap comes."""
    command = [sys.executable, "-W", "ignore", "-c", program, TEXT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (f"{expected}\n", "") == (done.stdout, done.stderr)


def value_in(client: FBClient, key: str) -> Any:
    """In another process."""
    return client.variation(key, USER), client.is_offline()


def test_a_pickled_copy(client: FBClient) -> None:
    """It takes the bootstrap along, into a spawned process too; without one it has none."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = pool.apply(value_in, (client, "staff"))
        pool.close()
        pool.join()
    copy = pickle.loads(pickle.dumps(client))  # noqa: S301 - made here

    assert (True, True) == spawned
    assert copy.variation("staff", USER) is True
    assert pickle.loads(pickle.dumps(offline())).initialize is False  # noqa: S301 - made here


def test_clients_are_apart(client: FBClient) -> None:
    """Each offline client has its own data."""
    assert offline().initialize is False


def test_defaults() -> None:
    """A configured default wins offline, too."""
    assert 7 == offline(defaults={"on": 7}).variation("on", USER, 5)


def test_a_client_that_is_not_offline(caplog: pytest.LogCaptureFixture) -> None:
    """It takes no bootstrap and says so."""
    with FBClient(Config("x" * 44, "http://localhost:1", "ws://localhost:1", role="follower"), start_wait=0) as client:
        assert client.initialize_from_external_json(TEXT) is False
        assert client.is_offline() is False
        assert client.initialize is False

    assert "offline client only" in caplog.text
    assert logging.WARNING == max(record.levelno for record in caplog.records)

"""Which settings members show each other."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbshared import Config, FBClient, FileDataSource, HTTPConfig, RegionError, WebSocketConfig
from fbshared.shm.ring import FOLLOWER, MAY_LEAD
from fbshared.wiring import member_settings, settings_word

SECRET = "s3cr3t-" + "x" * 37


def word(**options: Any) -> int:
    return settings_word(Config(SECRET, "http://localhost:1", "ws://localhost:1", **options))


@pytest.mark.parametrize(
    "options",
    [
        {"events_max_in_queue": 20_000},
        {"events_flush_interval": 2.0},
        {"events_retry_interval": 2.0},
        {"streaming_first_retry_delay": 2.0},
        {"leader_stale_limit": 5.0},
        {"http": HTTPConfig(connect_timeout=1.0)},
        {"http": HTTPConfig(read_timeout=1.0)},
        {"http": HTTPConfig(http_proxy="http://proxy:1")},
        {"http": HTTPConfig(ca_certs="ca.pem")},
        {"http": HTTPConfig(cert_file="cert.pem")},
        {"http": HTTPConfig(disable_ssl_verification=True)},
        {"persistence_dir": "/var/lib/kept"},
        {"sync": "polling"},
        {"polling_url": "http://localhost:2"},
        {"polling_interval": 5.0},
        {"full_sync_interval": 60.0},
        {"headers": {"X-Tenant": "bank"}},
        {"websocket": WebSocketConfig(timeout=1.0)},
        {"websocket": WebSocketConfig(proxy_host="proxy", proxy_port=1)},
        {"websocket": WebSocketConfig(proxy_host="proxy", proxy_port=1, proxy_type="socks5")},
        {"websocket": WebSocketConfig(sslopt={"ca_certs": "ca.pem"})},
    ],
)
def test_what_counts(options: dict[str, Any]) -> None:
    """A setting that shapes how the region is led shows; the role is the same."""
    assert word() != word(**options)
    assert word(**options) == word(**options)
    assert MAY_LEAD == word(**options) & 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"defaults": {"beta": True}}, {}),
        ({"events_flush_interval": 1}, {"events_flush_interval": 1.0}),
        ({"directory": "/dev/shm"}, {}),
        (
            {"http": HTTPConfig(http_proxy="http://ada:pass@proxy:1")},
            {"http": HTTPConfig(http_proxy="http://proxy:1", http_proxy_auth=("bob", "word"))},
        ),
        (
            {"websocket": WebSocketConfig(proxy_host="proxy", proxy_port=1, proxy_auth=("ada", "pass"))},
            {"websocket": WebSocketConfig(proxy_host="proxy", proxy_port="1")},
        ),
        (
            {"headers": {"X-Key": "one"}},
            {"headers": {"x-key": "two"}},
        ),
        (
            {"websocket": WebSocketConfig(sslopt={"password": "one"})},
            {"websocket": WebSocketConfig(sslopt={"password": "two"})},
        ),
    ],
)
def test_what_does_not_count(one: dict[str, Any], other: dict[str, Any]) -> None:
    """No login, no process's own defaults, and no way to write the same."""
    assert word(**one) == word(**other)


def test_neither_secret_nor_urls_count() -> None:
    """They make another region."""
    assert word() == settings_word(Config("y" * 44, "https://example.com", "wss://example.com"))


def test_the_role_stands_beside_the_settings() -> None:
    """A follower with the same settings differs in its role alone, and both fit into a word."""
    assert word() >> 2 == word(role="follower") >> 2
    assert FOLLOWER == word(role="follower") & 3
    assert 0 < word() < 2**64


def test_a_member_shows_them() -> None:
    """What is shown is part of a member's settings."""
    assert word() == member_settings(Config(SECRET, "http://localhost:1", "ws://localhost:1")).shown


# Two clients in one process


@pytest.fixture
def make() -> Iterator[Callable[..., FBClient]]:
    made: list[FBClient] = []

    def client(secret: str = SECRET, **options: Any) -> FBClient:
        config = Config(secret, "http://localhost:1", "ws://localhost:1", **({"role": "follower"} | options))
        made.append(FBClient(config, start_wait=0))
        return made[-1]

    yield client
    for each in made:
        each.stop(1)


def test_other_settings_for_one_environment(make: Callable[..., FBClient], caplog: pytest.LogCaptureFixture) -> None:
    """The second client's are not used: that is said once, with their names and without a value."""
    make()
    for _ in range(2):
        make(
            events_flush_interval=0.25,
            http=HTTPConfig(http_proxy_auth=("me", "hush"), read_timeout=0.75),
            websocket=WebSocketConfig(sslopt={"password": "hush"}),
        )
    told = [record.getMessage() for record in caplog.records if "other settings" in record.getMessage()]

    assert 1 == len(told)
    names = "events_flush_interval, http.read_timeout, http.http_proxy_auth, websocket.sslopt"
    assert told[0].endswith(f": {names}")
    assert not any(value in told[0] for value in ("hush", "0.25", "0.75"))

    make(role="auto")
    assert "this one too: role" in caplog.text


def test_what_may_differ(make: Callable[..., FBClient], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said where settings are equal, each client's own, or those of another environment."""
    make()
    make()
    make(defaults={"a": 1})
    make("other-" + "x" * 38, events_flush_interval=0.5)

    assert "other settings" not in caplog.text


def test_other_settings_in_a_forked_child(make: Callable[..., FBClient], caplog: pytest.LogCaptureFixture) -> None:
    """There, those of the client that the parent made hold."""
    client = make()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            client.variation("on", {})
            make(events_flush_interval=0.25)
            code = 0 if "this one too: events_flush_interval" in caplog.text else 1
        finally:
            os._exit(code)

    assert (child, 0) == os.waitpid(child, 0)


def test_who_meets_at_a_file() -> None:
    """Processes with one file and one address for events, or none: then a secret makes no difference."""
    source = FileDataSource("flags.json")
    one = member_settings(Config(data_source=source))

    assert one.digest == member_settings(Config(SECRET, streaming_url="x", data_source=source)).digest
    assert one.digest != member_settings(Config(SECRET, "http://a.b", data_source=source)).digest
    assert one.digest != member_settings(Config(data_source=FileDataSource("other.json"))).digest
    assert (True, False) == (one.silent, member_settings(Config(SECRET, "http://a.b", data_source=source)).silent)


# The directory of the persisted copy


def kept_in(path: Path, **options: Any) -> Config:
    return Config(SECRET, "http://localhost:1", "ws://localhost:1", persistence_dir=path, **options)


def test_it_is_made(tmp_path: Path) -> None:
    """It is made with those above it, and for this user alone; a follower needs none."""
    member_settings(kept_in(tmp_path / "of-a-follower", role="follower"))
    member_settings(kept_in(tmp_path / "a" / "b"))

    assert ["a"] == [path.name for path in tmp_path.iterdir()]
    assert 0o700 == (tmp_path / "a" / "b").stat().st_mode & 0o777


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_one_that_is_open_to_others(tmp_path: Path, mode: int) -> None:
    """It is refused where the client is made, and the error names it."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)

    with pytest.raises(RegionError, match=r"persistence directory that other users can enter.*/open"):
        FBClient(kept_in(tmp_path / "open"), start_wait=0)


def test_one_that_is_somebody_elses(tmp_path: Path) -> None:
    """A link and a file are refused as well, and so is what cannot be made."""
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    (tmp_path / "file").touch()

    for name in ("link", "file", "file/below"):
        with pytest.raises(RegionError, match=f"persistence directory.*{name}"):
            member_settings(kept_in(tmp_path / name))

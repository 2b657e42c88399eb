"""A configuration refuses what cannot work, and names the field."""

import inspect
import math
import os
import shutil
import traceback
from pathlib import Path
from typing import Any

import pytest

from fbshared import Config, ConfigError, FileDataSource, HTTPConfig, RegionError, WebSocketConfig, checks
from fbshared.config import default_root, require_config
from fbshared.core.addresses import insight_url
from fbshared.wiring import duty_settings, member_settings

SECRET = "a-secret-of-an-environment"


def config(**changes: Any) -> Config:
    return Config(**{"env_secret": SECRET, "event_url": "http://a.b", "streaming_url": "ws://a.b"} | changes)


NO_TIME = [0, -1, math.nan, math.inf, "1", None, True]
BAD = [
    *[("env_secret", value) for value in ("", "  ", None, 5, b"x", "a\nb", "ä")],
    *[
        ("event_url", value)
        for value in ("", None, 7, "a.b", "ws://a.b", "http://", "http://a:x", "http://a:99999", "http://[")
    ],
    *[("streaming_url", value) for value in ("", None, "http://a.b", "ws:///path")],
    *[("streaming_first_retry_delay", value) for value in (*NO_TIME, 61)],
    *[("events_max_in_queue", value) for value in (*NO_TIME, 1.5, 200_001)],
    *[("events_flush_interval", value) for value in (*NO_TIME, 61)],
    *[("events_retry_interval", value) for value in (*NO_TIME, 31)],
    *[("leader_stale_limit", value) for value in (*NO_TIME, 601)],
    *[("http", value) for value in ({}, WebSocketConfig())],
    *[("websocket", value) for value in ({}, HTTPConfig())],
    *[("defaults", value) for value in ([], "x")],
    *[("role", value) for value in (None, "leader", "", [])],
    *[("directory", value) for value in ("", 5, b"/tmp")],
    *[("offline", value) for value in (None, 1, "yes")],
    *[("events_max_retries", value) for value in (0, -1, "1", True)],
    *[(name, object()) for name in ("data_storage", "update_processor_imp", "event_processor_imp", "data_source")],
    *[("persistence_dir", value) for value in ("", 5, b"/tmp")],
    *[("sync", value) for value in (None, "websocket", "", [])],
    *[("polling_url", value) for value in ("", 7, "a.b", "ws://a.b")],
    *[("polling_interval", value) for value in (*NO_TIME, 0.9, 3601)],
    *[("full_sync_interval", value) for value in (*NO_TIME, 59, 604_801)],
    *[("headers", value) for value in (None, [], "X-A: b", {5: "a"}, {"": "a"}, {"a b": "a"}, {"a:": "a"})],
    *[("headers", {"X-A": value}) for value in (5, None, "a\nb", "a\r", "ä", " a", "a ", "\0")],
    *[("headers", {name: "a"}) for name in ("Authorization", "AUTHORIZATION", "Host", "Sec-WebSocket-Key", "te")],
    ("headers", {"X-A": "1", "x-a": "2"}),
]
BAD_HTTP = [
    *[("connect_timeout", value) for value in NO_TIME],
    *[("read_timeout", value) for value in NO_TIME],
    *[("http_proxy", value) for value in ("", "a.b:80", "ftp://a.b", 5)],
    *[("http_proxy_auth", value) for value in ("me:secret", ("me",), ("me", 5), 7)],
    *[("ca_certs", value) for value in (5, "")],
    *[("cert_file", value) for value in (5, "")],
    *[("disable_ssl_verification", value) for value in ("no", None)],
]
BAD_WEBSOCKET = [
    *[("timeout", value) for value in (*NO_TIME, 10.5)],
    *[("sslopt", value) for value in ("x", 5)],
    *[("proxy_type", value) for value in ("ftp", "", [])],
    *[("proxy_host", value) for value in ("a.b", 5)],
    ("proxy_port", 80),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_refused(field: str, value: Any) -> None:
    """The error names the field, and shows no secret."""
    with pytest.raises(ConfigError, match=rf"\b{field}\b"):
        config(**{field: value})


@pytest.mark.parametrize(("field", "value"), BAD_HTTP)
def test_a_bad_http_value_is_refused(field: str, value: Any) -> None:
    """The error names the field with the configuration that it is in."""
    with pytest.raises(ConfigError, match=rf"\bhttp\.{field}\b"):
        HTTPConfig(**{field: value})


@pytest.mark.parametrize(("field", "value"), BAD_WEBSOCKET)
def test_a_bad_websocket_value_is_refused(field: str, value: Any) -> None:
    """The error names the field with the configuration that it is in."""
    with pytest.raises(ConfigError, match=rf"\bwebsocket\.{field}\b"):
        WebSocketConfig(**{field: value})


@pytest.mark.parametrize("port", [0, 65536, "x", "", "1.5", -1])
def test_a_bad_proxy_port_is_refused(port: Any) -> None:
    """A port is a number between 1 and 65535."""
    with pytest.raises(ConfigError, match=r"websocket\.proxy_port"):
        WebSocketConfig(proxy_host="a.b", proxy_port=port)


@pytest.mark.parametrize("auth", ["me:secret", ("me",), ("me", None)])
def test_a_bad_proxy_auth_is_refused(auth: Any) -> None:
    """User and password are a pair of texts; neither is shown in the error."""
    with pytest.raises(ConfigError, match=r"websocket\.proxy_auth") as caught:
        WebSocketConfig(proxy_host="a.b", proxy_port=1, proxy_auth=auth)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: config(env_secret=SECRET.encode()),
        lambda: config(http={"http_proxy_auth": ("me", SECRET)}),
        lambda: config(websocket={"proxy_auth": ("me", SECRET)}),
        lambda: config(headers=f"X-Key: {SECRET}"),
        lambda: config(defaults=[SECRET]),
        lambda: WebSocketConfig(sslopt=[("password", SECRET)]),
        lambda: WebSocketConfig(proxy_host=("me", SECRET)),
        lambda: require_config(SECRET),
    ],
)
def test_a_secret_in_a_wrong_place_is_not_shown(make: Any) -> None:
    """Whoever mixes up arguments finds no secret in the error, nor in what it came from."""
    with pytest.raises(ConfigError) as caught:
        make()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_good_values() -> None:
    """The bounds themselves are good, and so is whatever a URL may have."""
    config(
        event_url="https://a.b:8443/path/",
        streaming_url="wss://[::1]:1/x",
        events_max_in_queue=200_000,
        events_flush_interval=60,
        events_retry_interval=30,
        streaming_first_retry_delay=0.01,
        leader_stale_limit=600,
        websocket=WebSocketConfig(
            timeout=10, proxy_host="p", proxy_port="3128", proxy_auth=("me", "x"), proxy_type="socks5"
        ),
        http=HTTPConfig(http_proxy="http://p:1", http_proxy_auth=("me", "x"), ca_certs="a", cert_file="b"),
        directory=Path("/tmp/x"),
        role="follower",
        persistence_dir=Path("/tmp/y"),
        sync="polling",
        polling_url="https://c.d/",
        polling_interval=1,
        full_sync_interval=604_800,
        headers={"X-Tenant": "", "User-Agent": "bank/1 (x; y)"},
    )


def test_secrets_are_not_shown() -> None:
    """A representation, which may end in a log, has neither the secret nor a password nor a default value."""
    shown = repr(
        config(
            websocket=WebSocketConfig(proxy_host="p", proxy_port=1, proxy_auth=("me", "hush")),
            http=HTTPConfig(http_proxy="http://me:hush@p", http_proxy_auth=("me", "hush")),
            defaults={"key": "hush"},
            headers={"X-Key": "hush"},
        )
    )
    with pytest.raises(ConfigError) as caught:
        config(headers={"X-Key": "hush\n"})
    assert "hush" not in str(caught.value)

    assert SECRET not in shown
    assert "hush" not in shown
    with pytest.raises(ConfigError) as caught:
        config(env_secret="sécret")
    assert "sécret" not in str(caught.value)


def test_logins_in_urls_are_not_shown() -> None:
    """A representation has the hosts, which help, and no user or password that stands before them."""
    shown = repr(
        config(
            event_url="https://me:hush@events/x",
            streaming_url="wss://hush@stream",
            http=HTTPConfig(http_proxy="http://me:hush@p:1"),
            websocket=WebSocketConfig(sslopt={"password": "hush"}),
        )
    )

    assert "hush" not in shown
    assert all(host in shown for host in ("https://***@events/x", "wss://***@stream", "http://***@p:1"))


# As FeatBit's own SDK has it


def test_its_order_of_arguments() -> None:
    """The arguments of its classes may be given by position, as there; None is the default where it has one."""
    made = Config(
        SECRET,
        "http://a.b",
        "ws://a.b",
        2.0,
        500,
        0.5,
        0.2,
        3,
        False,
        None,
        None,
        None,
        HTTPConfig(1.0),
        None,
        {"a": 1},
    )

    assert made == config(
        streaming_first_retry_delay=2.0,
        events_max_in_queue=500,
        events_flush_interval=0.5,
        events_retry_interval=0.2,
        http=HTTPConfig(connect_timeout=1.0),
        defaults={"a": 1},
    )
    assert config() == config(http=None, websocket=None, defaults=None)
    assert WebSocketConfig(1.0, {}, "http", "p", "1", ("a", "b")).proxy_auth == ("a", "b")


def test_its_signatures() -> None:
    """Every argument of its configuration classes exists here, in its order."""
    theirs = pytest.importorskip("fbclient.config")

    for ours in (Config, HTTPConfig, WebSocketConfig):
        names = list(inspect.signature(getattr(theirs, ours.__name__)).parameters)

        assert names == list(inspect.signature(ours).parameters)[: len(names)]


def test_its_public_names() -> None:
    """Every attribute of its configuration classes exists here, except how its parts were made."""
    theirs = pytest.importorskip("fbclient.config")

    made = theirs.Config(SECRET, "http://a.b", "ws://a.b/")
    absent = {"data_storage", "update_processor_imp", "event_processor_imp", "events_max_retries"}
    names = {name for name in dir(made) if not name.startswith("_")} - absent

    assert set() == {name for name in names if not hasattr(config(), name)}
    ours = config(event_url="http://a.b/", streaming_url="ws://a.b/")
    assert (made.events_uri, made.streaming_uri) == (ours.events_uri, ours.streaming_uri)
    assert (made.is_offline, made.validate()) == (ours.is_offline, ours.validate())


def test_retries_without_an_end(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """``events_max_retries`` is accepted and said once to have no effect."""
    monkeypatch.setattr(checks, "_told", set())
    assert config(events_max_retries=3) == config(events_max_retries=1) == config()

    assert 1 == caplog.text.count("events_max_retries has no effect")


def test_offline_needs_nothing() -> None:
    """Secret and URLs may be anything that is text; a data source would contradict it."""
    assert Config("", "", "", offline=True).is_offline
    assert Config("x", "y", "z", offline=True).is_offline
    with pytest.raises(ConfigError, match="env_secret"):
        Config(None, "", "", offline=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="data_source"):
        Config(offline=True, data_source=FileDataSource("x"))


def test_what_a_data_source_needs() -> None:
    """Nothing; where there is an address for events, a secret too."""
    source = FileDataSource("x")
    assert Config(data_source=source).event_url == ""
    assert Config(SECRET, "http://a.b", data_source=source).data_source is source
    with pytest.raises(ConfigError, match="env_secret"):
        Config("", "http://a.b", data_source=source)
    with pytest.raises(ConfigError, match="event_url"):
        Config(SECRET, "ws://a.b", data_source=source)
    assert "data_source='file:" in repr(Config(data_source=source))


def test_a_copy_for_another_environment() -> None:
    """It has all settings but the secret, and the same defaults unless it is given some; no data is shared."""
    first = config(defaults={"a": [1]}, role="follower", http=HTTPConfig(connect_timeout=1.0), events_flush_interval=2)
    second = first.copy_config_in_a_new_env("other")
    third = first.copy_config_in_a_new_env("other", {"b": 2})

    assert config(**{**KEPT, "env_secret": "other", "defaults": {"a": [1]}}) == second
    assert {"b": 2} == third.defaults
    assert {} == first.copy_config_in_a_new_env("other", defaults={}).defaults
    sourced = Config(SECRET, "http://a.b", "ws://a.b", data_source=FileDataSource("x"))
    assert sourced.copy_config_in_a_new_env("other").data_source is None
    assert FileDataSource("y") == sourced.copy_config_in_a_new_env("other", data_source=FileDataSource("y")).data_source
    with pytest.raises(ConfigError, match="data_storage"):
        first.copy_config_in_a_new_env("other", None, object())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="env_secret"):
        first.copy_config_in_a_new_env("")


KEPT: dict[str, Any] = {
    "role": "follower",
    "http": HTTPConfig(connect_timeout=1.0),
    "events_flush_interval": 2,
}


@pytest.mark.parametrize(
    "value", [True, False, 0, 9007199254740993, 10**400, 1.5, "x", "", None, (1, 2), {3: {4}}, [[5]]]
)
def test_a_default_keeps_its_type(value: Any) -> None:
    """What was configured comes back as it was, also where FeatBit's own SDK would make it a text or a float."""
    made = config(defaults={"key": value})

    assert (value, type(value)) == (made.get_default_value("key", "call"), type(made.get_default_value("key")))
    assert "call" == made.get_default_value("other", "call")


def test_a_default_cannot_be_changed_by_who_gets_it() -> None:
    """The next one who asks gets the configured value."""
    made = config(defaults={"key": {"list": []}})
    made.get_default_value("key")["list"].append(1)

    assert {"list": []} == made.get_default_value("key")


def test_it_is_frozen() -> None:
    """Nothing can be changed afterwards, neither a field nor the defaults of the application."""
    defaults = {"a": [1]}
    made = config(defaults=defaults)
    defaults["a"].append(2)
    defaults["b"] = []

    assert {"a": [1]} == made.defaults
    headers = {"X-A": "b"}
    made_with_headers = config(headers=headers)
    headers["X-A"] = "c"
    assert {"X-A": "b"} == made_with_headers.headers
    with pytest.raises(AttributeError):
        made.role = "follower"  # type: ignore[misc]


@pytest.mark.parametrize("value", [None, "x", {}, HTTPConfig()])
def test_what_is_no_config(value: object) -> None:
    """It is refused by everything that takes one."""
    with pytest.raises(ConfigError, match="config"):
        require_config(value)


# The root


def test_the_root(shared_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured directory wins over the environment's, and is made where it is missing."""
    asked = shared_directory / "deep" / "er"

    assert str(shared_directory) == config().root()
    assert str(asked) == config(directory=asked).root()
    assert asked.is_dir()
    monkeypatch.delenv("FBSHARED_DIR")
    assert default_root() == config().root()


def test_one_directory_has_one_name(shared_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is spelled: two members of one process in one directory would drop each other's locks."""
    (shared_directory / "link").symlink_to(shared_directory)
    monkeypatch.chdir(shared_directory)

    for name in ("link", ".", f"{shared_directory}//", f"{shared_directory}/x/.."):
        assert str(shared_directory) == config(directory=name).root()


def test_a_root_that_cannot_be_made(shared_directory: Path) -> None:
    """The error names the path."""
    (shared_directory / "file").touch()

    with pytest.raises(RegionError, match="file"):
        config(directory=shared_directory / "file" / "below").root()


# The way down


def test_who_meets() -> None:
    """Equal environments share a region, however their URLs end; other secrets and other URLs do not."""
    base = member_settings(config())
    same = member_settings(config(event_url="http://a.b/", streaming_url="ws://a.b/"))
    others = [{"env_secret": "other"}, {"event_url": "http://a.c"}, {"streaming_url": "ws://a.c"}]

    assert base.digest == same.digest
    assert 4 == len({base.digest, *(member_settings(config(**other)).digest for other in others)})
    assert SECRET not in repr(base)


def test_a_follower_never_leads() -> None:
    """Its member has no way to lead."""
    assert member_settings(config(role="follower")).duty is None
    assert member_settings(config()).duty is not None


def test_a_leader_gets_all_of_it() -> None:
    """Every setting arrives where it is used."""
    made = duty_settings(
        config(
            event_url="https://events/base/",
            streaming_first_retry_delay=3,
            events_flush_interval=4,
            events_retry_interval=5,
            sync="polling",
            polling_url="https://polls/",
            polling_interval=10,
            full_sync_interval=60,
            headers={"X-Tenant": "bank"},
            leader_stale_limit=6,
            http=HTTPConfig(
                connect_timeout=7,
                read_timeout=8,
                http_proxy="http://p:1",
                http_proxy_auth=("m@", "p:"),
                ca_certs="ca",
                cert_file="c",
            ),
            websocket=WebSocketConfig(
                timeout=9, sslopt={"ca_certs": "ca"}, proxy_host="q", proxy_port=2, proxy_auth=("m", "p")
            ),
        )
    )
    sync, delivery = made.sync, made.delivery

    assert ("ws://a.b", SECRET, 3, 6) == (sync.url, sync.secret, sync.first_retry, made.stale_limit)
    assert (9, {"ca_certs": "ca", "certfile": "c"}) == (sync.connection.timeout, sync.connection.sslopt)
    assert {
        "http_proxy_host": "q",
        "http_proxy_port": "2",
        "http_proxy_auth": ("m", "p"),
        "proxy_type": "http",
    } == sync.connection.proxy
    assert (insight_url("https://events/base"), SECRET) == (delivery.url, delivery.secret)
    assert (4, 5, 7, 8) == (
        delivery.flush_interval,
        delivery.first_retry,
        delivery.connect_timeout,
        delivery.read_timeout,
    )
    assert {"http": "http://m%40:p%3A@p:1", "https": "http://m%40:p%3A@p:1"} == delivery.proxies
    assert ("ca", "c") == (delivery.verify, delivery.cert)
    assert ("polling", 60) == (sync.mode, sync.full_every)
    assert sync.polling is not None
    assert ("https://polls/api/public/sdk/server/latest-all", 10) == (sync.polling.url, sync.polling.interval)
    for channel in (sync.connection, sync.polling, delivery):
        assert {"X-Tenant": "bank"} == channel.headers
        assert "bank" not in repr(channel)
    assert (delivery.proxies, delivery.verify, delivery.cert, SECRET) == (
        sync.polling.proxies,
        sync.polling.verify,
        sync.polling.cert,
        sync.polling.secret,
    )
    assert SECRET not in repr(made)


def test_polls_go_where_events_go() -> None:
    """Unless there is another address for them."""
    polling = duty_settings(config()).sync.polling

    assert polling is not None
    assert "http://a.b/api/public/sdk/server/latest-all" == polling.url


def test_tls_verification() -> None:
    """It is on unless it is switched off in so many words."""
    assert duty_settings(config()).delivery.verify is True
    assert duty_settings(config(http=HTTPConfig(disable_ssl_verification=True))).delivery.verify is False
    assert {} == duty_settings(config()).delivery.proxies
    assert {"http": "http://p", "https": "http://p"} == duty_settings(
        config(http=HTTPConfig(http_proxy="http://p"))
    ).delivery.proxies


def test_the_place_in_memory() -> None:
    """Without a word about it, regions live in shared memory where there is some."""
    assert os.path.isdir(default_root())
    assert shutil.disk_usage(default_root()).total > 0

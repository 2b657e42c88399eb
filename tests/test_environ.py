"""A configuration from environment variables: each has one, and what is wrong with it is said in its name."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fbshared import Config, ConfigError, FileDataSource, HTTPConfig, WebSocketConfig
from fbshared.environ import VARIABLES

BASE = {
    "FBSHARED_ENV_SECRET": "a-secret",
    "FBSHARED_EVENT_URL": "https://a.b",
    "FBSHARED_STREAMING_URL": "wss://a.b",
}
# Objects of the application's, and what only refuses.
WITHOUT = {"defaults", "headers", "http", "websocket"}


def test_every_field_has_a_variable() -> None:
    """Except those that no text can hold."""
    of_parts = [(f"{part}.", kind) for part, kind in (("http", HTTPConfig), ("websocket", WebSocketConfig))]
    names = {prefix + each.name for prefix, kind in [("", Config), *of_parts] for each in fields(kind)}

    assert names - WITHOUT == {variable.field for variable in VARIABLES}


def test_the_least() -> None:
    """Secret and URLs; everything else is as it is without variables."""
    assert Config("a-secret", "https://a.b", "wss://a.b") == Config.from_env(BASE)


def test_everything() -> None:
    """Every variable arrives in its field, in its type."""
    made = Config.from_env(
        BASE
        | {
            "FBSHARED_ROLE": "follower",
            "FBSHARED_DIR": "/x",
            "FBSHARED_LEADER_STALE_LIMIT": "5",
            "FBSHARED_STREAMING_FIRST_RETRY_DELAY": "2.5",
            "FBSHARED_EVENTS_MAX_IN_QUEUE": "500",
            "FBSHARED_EVENTS_FLUSH_INTERVAL": "3",
            "FBSHARED_EVENTS_RETRY_INTERVAL": "0.5",
            "FBSHARED_HTTP_CONNECT_TIMEOUT": "1",
            "FBSHARED_HTTP_READ_TIMEOUT": "2",
            "FBSHARED_HTTP_PROXY": "http://p:1",
            "FBSHARED_HTTP_PROXY_AUTH": "me:a:b",
            "FBSHARED_HTTP_CA_CERTS": "ca",
            "FBSHARED_HTTP_CERT_FILE": "cert",
            "FBSHARED_HTTP_DISABLE_SSL_VERIFICATION": "Yes",
            "FBSHARED_WEBSOCKET_TIMEOUT": "4",
            "FBSHARED_WEBSOCKET_CA_CERTS": "ca",
            "FBSHARED_WEBSOCKET_PROXY_TYPE": "socks5",
            "FBSHARED_WEBSOCKET_PROXY_HOST": "q",
            "FBSHARED_WEBSOCKET_PROXY_PORT": "2",
            "FBSHARED_WEBSOCKET_PROXY_AUTH": "me:",
        }
    )

    assert made == Config(
        "a-secret",
        "https://a.b",
        "wss://a.b",
        2.5,
        500,
        3.0,
        0.5,
        role="follower",
        directory="/x",
        leader_stale_limit=5.0,
        http=HTTPConfig(1.0, 2.0, "http://p:1", ("me", "a:b"), "ca", "cert", True),
        websocket=WebSocketConfig(4.0, {"ca_certs": "ca"}, "socks5", "q", "2", ("me", "")),
    )


def test_other_origins() -> None:
    """A watched file, or nothing at all, needs neither secret nor URL."""
    assert Config(data_source=FileDataSource("/x.json")) == Config.from_env({"FBSHARED_DATA_FILE": "/x.json"})
    assert Config.from_env({"FBSHARED_OFFLINE": "true"}).is_offline is True
    assert Config.from_env(BASE | {"FBSHARED_OFFLINE": "0"}).is_offline is False


def test_whose_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own without another; an empty variable is none; what the program says wins."""
    for name, value in (BASE | {"FBSHARED_ROLE": " "}).items():
        monkeypatch.setenv(name, value)

    assert "auto" == Config.from_env().role
    assert "follower" == Config.from_env(role="follower").role
    assert {"a": 1} == Config.from_env(defaults={"a": 1}).defaults


def test_a_secret_file(tmp_path: Path) -> None:
    """It holds the secret and perhaps a line's end."""
    file = tmp_path / "secret"
    file.write_text("a-secret\n")
    del (environ := dict(BASE))["FBSHARED_ENV_SECRET"]

    assert Config.from_env(BASE) == Config.from_env(environ | {"FBSHARED_ENV_SECRET_FILE": str(file)})
    with pytest.raises(ConfigError, match=r"FBSHARED_ENV_SECRET and FBSHARED_ENV_SECRET_FILE are both set"):
        Config.from_env(BASE | {"FBSHARED_ENV_SECRET_FILE": str(file)})


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\x00secret", "schlüssel".encode()])
def test_a_bad_secret_file(content: bytes | None, tmp_path: Path) -> None:
    """The error names the variable and nothing of the content."""
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"^FBSHARED_ENV_SECRET_FILE ") as caught:
        Config.from_env(BASE | {"FBSHARED_ENV_SECRET": "", "FBSHARED_ENV_SECRET_FILE": str(file)})

    assert "sch" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FBSHARED_ENV_SECRET", ""),
        ("FBSHARED_ENV_SECRET", "sécret"),
        ("FBSHARED_EVENT_URL", ""),
        ("FBSHARED_EVENT_URL", "a.b"),
        ("FBSHARED_STREAMING_URL", "https://a.b"),
        ("FBSHARED_DATA_FILE", "a\0"),
        ("FBSHARED_OFFLINE", "perhaps"),
        ("FBSHARED_ROLE", "leader"),
        ("FBSHARED_LEADER_STALE_LIMIT", "601"),
        ("FBSHARED_STREAMING_FIRST_RETRY_DELAY", "soon"),
        ("FBSHARED_EVENTS_MAX_IN_QUEUE", "1.5"),
        ("FBSHARED_EVENTS_MAX_IN_QUEUE", "0"),
        ("FBSHARED_EVENTS_FLUSH_INTERVAL", "nan"),
        ("FBSHARED_HTTP_READ_TIMEOUT", "-1"),
        ("FBSHARED_HTTP_PROXY", "p:1"),
        ("FBSHARED_HTTP_PROXY_AUTH", "hush"),
        ("FBSHARED_HTTP_DISABLE_SSL_VERIFICATION", "2"),
        ("FBSHARED_WEBSOCKET_TIMEOUT", "11"),
        ("FBSHARED_WEBSOCKET_PROXY_TYPE", "ftp"),
        ("FBSHARED_WEBSOCKET_PROXY_HOST", "p"),
        ("FBSHARED_WEBSOCKET_PROXY_PORT", "x"),
        ("FBSHARED_WEBSOCKET_PROXY_AUTH", "hush"),
    ],
)
def test_a_bad_value(name: str, value: Any) -> None:
    """The error names the variable, whether the text or what it means is wrong, and shows no login."""
    with pytest.raises(ConfigError, match=rf"\b{name}\b") as caught:
        Config.from_env(BASE | {name: value})

    assert "hush" not in str(caught.value)
    assert "sécret" not in str(caught.value)

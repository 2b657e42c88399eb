"""Configuration: frozen values that refuse what cannot work, naming the field."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fbshared.errors import ConfigError, RegionError

__all__ = ["Config", "HTTPConfig", "WebSocketConfig", "require_config"]

_SHARED_MEMORY = "/dev/shm"


def _positive(name: str, value: object, longest: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf or value > longest:
        limit = "" if longest == math.inf else f" and at most {longest:g}"
        raise ConfigError(f"{name} must be a number greater than 0{limit}, not {value!r}")


def _url(name: str, value: object, schemes: tuple[str, ...]) -> None:
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        usable = parts is not None and parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{name} must be a URL that begins with {expected} and names a host")


def _secret(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or not value.isascii() or not value.isprintable():
        raise ConfigError(f"{name} must be the server secret of a FeatBit environment")


def _kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, not {value!r}")


def _text(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{name} must be a text, not {value!r}")


def _login(name: str, value: object) -> None:
    if value is not None:
        match value:
            case (str(), str()):
                return
        raise ConfigError(f"{name} must be a pair of user and password")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketConfig:
    """How the leader's websocket is made.

    Attributes:
        timeout: seconds to wait for the connection, and for progress inside of a message; at most 10.
        sslopt: TLS options as websocket-client takes them, such as ``{"ca_certs": "ca.pem"}``.
        proxy_type: ``http``, ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``.
        proxy_host, proxy_port, proxy_auth: the proxy; ``proxy_auth`` is a pair of user and password.
    """

    timeout: float = 5.0
    sslopt: Mapping[str, Any] | None = None
    proxy_type: Literal["http", "socks4", "socks4a", "socks5", "socks5h"] | None = None
    proxy_host: str | None = None
    proxy_port: str | int | None = None
    proxy_auth: tuple[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _positive("websocket.timeout", self.timeout, 10.0)
        if self.proxy_type not in (None, "http", "socks4", "socks4a", "socks5", "socks5h"):
            raise ConfigError(f"websocket.proxy_type is not known: {self.proxy_type!r}")
        if self.sslopt is not None:
            _kind("websocket.sslopt", self.sslopt, Mapping)
        _text("websocket.proxy_host", self.proxy_host)
        _login("websocket.proxy_auth", self.proxy_auth)
        if (self.proxy_host is None) != (self.proxy_port is None):
            raise ConfigError("websocket.proxy_host and websocket.proxy_port go together")
        port = str(self.proxy_port)
        if self.proxy_port is not None and (not port.isdecimal() or not 0 < int(port) < 65536):
            raise ConfigError(f"websocket.proxy_port is no port: {self.proxy_port!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPConfig:
    """How the leader delivers events.

    Attributes:
        connect_timeout, read_timeout: seconds.
        http_proxy: the proxy's URL, used for http and https.
        http_proxy_auth: a pair of user and password.
        ca_certs: a file with the certificates to trust.
        cert_file: a file with the client's certificate and key.
        disable_ssl_verification: trust every server; for tests only.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    http_proxy: str | None = field(default=None, repr=False)
    http_proxy_auth: tuple[str, str] | None = field(default=None, repr=False)
    ca_certs: str | None = None
    cert_file: str | None = None
    disable_ssl_verification: bool = False

    def __post_init__(self) -> None:
        _positive("http.connect_timeout", self.connect_timeout)
        _positive("http.read_timeout", self.read_timeout)
        if self.http_proxy is not None:
            _url("http.http_proxy", self.http_proxy, ("http", "https", "socks5", "socks5h"))
        _login("http.http_proxy_auth", self.http_proxy_auth)
        _text("http.ca_certs", self.ca_certs)
        _text("http.cert_file", self.cert_file)
        _kind("http.disable_ssl_verification", self.disable_ssl_verification, bool)


@dataclass(frozen=True, slots=True)
class Config:
    """What a client needs to know. Equal configurations in several processes share one region.

    Attributes:
        env_secret: the server secret of the environment.
        event_url: ``http(s)://`` address that takes events.
        streaming_url: ``ws(s)://`` address that sends data.
        streaming_first_retry_delay: seconds before the first reconnect; doubles up to 60.
        events_max_in_queue: events that one process can have waiting for delivery (of typical size).
        events_flush_interval: seconds between two deliveries, when there are few events; at most 60.
        events_retry_interval: seconds before the first retry of a failed delivery; doubles up to 30.
        http, websocket: details of both connections.
        defaults: values by flag key that win over the default given in a call.
        role: ``auto`` stands for the lead, ``follower`` never does and starts no thread.
        directory: where the region lives; else ``$FBSHARED_DIR``, else ``/dev/shm``, else the temporary directory.
        leader_stale_limit: seconds without a heartbeat after which a leader is replaced.

    Raises:
        ConfigError: a ``ValueError`` that names the field.
    """

    env_secret: str = field(repr=False)
    event_url: str
    streaming_url: str
    _: KW_ONLY
    streaming_first_retry_delay: float = 1.0
    events_max_in_queue: int = 10_000
    events_flush_interval: float = 1.0
    events_retry_interval: float = 0.1
    http: HTTPConfig = field(default_factory=HTTPConfig)
    websocket: WebSocketConfig = field(default_factory=WebSocketConfig)
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    role: Literal["auto", "follower"] = "auto"
    directory: str | Path | None = None
    leader_stale_limit: float = 10.0

    def __post_init__(self) -> None:
        _secret("env_secret", self.env_secret)
        _url("event_url", self.event_url, ("http", "https"))
        _url("streaming_url", self.streaming_url, ("ws", "wss"))
        _positive("streaming_first_retry_delay", self.streaming_first_retry_delay, 60.0)
        _positive("events_max_in_queue", self.events_max_in_queue, 200_000)
        _positive("events_flush_interval", self.events_flush_interval, 60.0)
        _positive("events_retry_interval", self.events_retry_interval, 30.0)
        _positive("leader_stale_limit", self.leader_stale_limit, 600.0)
        if self.events_max_in_queue != int(self.events_max_in_queue):
            raise ConfigError(f"events_max_in_queue must be a whole number, not {self.events_max_in_queue!r}")
        _kind("http", self.http, HTTPConfig)
        _kind("websocket", self.websocket, WebSocketConfig)
        _kind("defaults", self.defaults, Mapping)
        if self.role not in ("auto", "follower"):
            raise ConfigError(f"role must be 'auto' or 'follower', not {self.role!r}")
        if self.directory is not None and not isinstance(self.directory, Path):
            _text("directory", self.directory)
        object.__setattr__(self, "defaults", deepcopy(dict(self.defaults)))

    def root(self) -> str:
        """The existing directory that the region lives in.

        The choice depends on configuration and on what exists, never on free space: all processes of an
        application must agree.

        Raises:
            RegionError: there is no such directory, and the one that was asked for cannot be made.
        """
        asked = self.directory or os.environ.get("FBSHARED_DIR")
        if asked:
            # One name for one directory: two members of a process in it would drop each other's locks.
            path = os.path.realpath(asked)
            try:
                os.makedirs(path, mode=0o700, exist_ok=True)
            except OSError as error:
                raise RegionError(error.errno, f"cannot create the directory: {error.strerror}", path) from error
            return path
        return default_root()


def require_config(value: object) -> None:
    """Raise ``ConfigError`` unless this is a ``Config``."""
    _kind("config", value, Config)


def default_root() -> str:
    """Where regions live when nothing was asked for."""
    for path in (_SHARED_MEMORY, tempfile.gettempdir()):
        if os.path.isdir(path):
            return path
    raise RegionError(2, "no directory for shared files", _SHARED_MEMORY)  # pragma: no cover

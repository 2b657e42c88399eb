"""Configuration: frozen values that refuse what cannot work, naming the field."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, InitVar, dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from fbshared.checks import masked, refuse_parts, require_headers, require_socks, require_source, tell_once
from fbshared.core.addresses import insight_url
from fbshared.environ import in_variables, parts_of, read_environ
from fbshared.errors import ConfigError, RegionError
from fbshared.sources import DataSource

__all__ = ["Config", "HTTPConfig", "WebSocketConfig", "require_config"]

_SHARED_MEMORY = "/dev/shm"


def _positive(name: str, value: object, longest: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf or value > longest:
        limit = "" if longest == math.inf else f" and at most {longest:g}"
        raise ConfigError(f"{name} must be a number greater than 0{limit}, not {value!r}")


def _between(name: str, value: float, shortest: float, longest: float) -> None:
    _positive(name, value, longest)
    if value < shortest:
        raise ConfigError(f"{name} must be at least {shortest:g}, not {value!r}")


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
        # Not the value: whoever mixes up arguments puts the secret, or a login, in a place where it is no good.
        raise ConfigError(f"{name} must be a {kind.__name__}, not a {type(value).__name__}")


def _text(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{name} must be a text that is not empty, if it is given")


def _login(name: str, value: object) -> None:
    if value is not None:
        match value:
            case (str(), str()):
                return
        raise ConfigError(f"{name} must be a pair of user and password")


@dataclass(frozen=True, slots=True, repr=False)
class WebSocketConfig:
    """What is special about the leader's websocket. What is not said here is as in ``HTTPConfig``.

    Attributes:
        timeout: seconds to wait for the connection, and for progress inside of a message; at most 10.
        sslopt: TLS options as websocket-client takes them, such as ``{"ca_certs": "ca.pem"}``; they win one by one
            over those that follow from ``HTTPConfig``.
        proxy_type: ``http``, ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``.
        proxy_host, proxy_port, proxy_auth: the proxy; ``proxy_auth`` is a pair of user and password.
    """

    timeout: float = 5.0
    sslopt: Mapping[str, Any] | None = field(default=None, repr=False)
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
        if self.proxy_type is not None and self.proxy_type != "http":
            require_socks("websocket.proxy_type")
        if (self.proxy_host is None) != (self.proxy_port is None):
            raise ConfigError("websocket.proxy_host and websocket.proxy_port go together")
        port = str(self.proxy_port)
        if self.proxy_port is not None and (not port.isdecimal() or not 0 < int(port) < 65536):
            raise ConfigError(f"websocket.proxy_port is no port: {self.proxy_port!r}")

    def __repr__(self) -> str:
        return masked(self)


@dataclass(frozen=True, slots=True, repr=False)
class HTTPConfig:
    """How the leader reaches FeatBit: to deliver events, to poll, and for its websocket too.

    Attributes:
        connect_timeout, read_timeout: seconds; of HTTP requests alone.
        http_proxy: the proxy's URL; an ``https://`` proxy is no way for a websocket, which goes past it.
        http_proxy_auth: a pair of user and password.
        ca_certs: a file with the certificates to trust.
        cert_file: a file with the client's certificate and key.
        disable_ssl_verification: trust every server; for tests only.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    http_proxy: str | None = None
    http_proxy_auth: tuple[str, str] | None = field(default=None, repr=False)
    ca_certs: str | None = None
    cert_file: str | None = None
    disable_ssl_verification: bool = False

    def __post_init__(self) -> None:
        _positive("http.connect_timeout", self.connect_timeout)
        _positive("http.read_timeout", self.read_timeout)
        if self.http_proxy is not None:
            _url("http.http_proxy", self.http_proxy, ("http", "https", "socks4", "socks4a", "socks5", "socks5h"))
            if self.http_proxy.startswith("socks"):
                require_socks("http.http_proxy")
        _login("http.http_proxy_auth", self.http_proxy_auth)
        _text("http.ca_certs", self.ca_certs)
        _text("http.cert_file", self.cert_file)
        _kind("http.disable_ssl_verification", self.disable_ssl_verification, bool)

    def __repr__(self) -> str:
        return masked(self)


@dataclass(frozen=True, slots=True, repr=False)
class Config:
    """What a client needs to know. Equal configurations in several processes share one region.

    Attributes:
        env_secret: the server secret of the environment.
        event_url: ``http(s)://`` address that takes events; with a ``data_source`` it may be left out, and then there
            are no events.
        streaming_url: ``ws(s)://`` address that sends data; not used with a ``data_source``.
        streaming_first_retry_delay: seconds before the first reconnect; doubles up to 60.
        events_max_in_queue: events that one process can have waiting for delivery (of typical size).
        events_flush_interval: seconds between two deliveries, when there are few events; at most 60.
        events_retry_interval: seconds before the first retry of a failed delivery; doubles up to 30.
        events_max_retries: accepted and without effect: an event is retried until it is delivered.
        offline: no connection, no shared memory, no events; data comes from ``initialize_from_external_json`` alone.
            Secret and URLs are not looked at.
        data_storage, update_processor_imp, event_processor_imp: not offered, and refused with what to use instead.
        http, websocket: details of both connections.
        defaults: values by flag key that win over the default given in a call.
        role: ``auto`` stands for the lead, ``follower`` never does and starts no thread.
        directory: where the region lives; else ``$FBSHARED_DIR``, else ``/dev/shm``, else the temporary directory.
        leader_stale_limit: seconds without a heartbeat after which a leader is replaced.
        data_source: where data comes from instead of FeatBit's stream, such as a ``FileDataSource``. Without
            ``event_url`` it needs no secret.
        persistence_dir: a private directory for a copy of the data that outlives a reboot; it is made where it is
            missing. None keeps no copy.
        sync: ``streaming`` gets data by websocket, ``polling`` asks by HTTP, ``auto`` begins with a websocket and
            polls where none gets through.
        polling_url: ``http(s)://`` address that is polled; else ``event_url``.
        polling_interval: seconds between two polls, from 1 to 3600.
        full_sync_interval: seconds, give or take a quarter, after which everything is asked for again, from 60 to
            604,800.
        headers: more HTTP headers for every request and for the websocket's handshake.

    Raises:
        ConfigError: a ``ValueError`` that names the field.
    """

    env_secret: str = field(default="", repr=False)
    event_url: str = ""
    streaming_url: str = ""
    streaming_first_retry_delay: float = 1.0
    events_max_in_queue: int = 10_000
    events_flush_interval: float = 1.0
    events_retry_interval: float = 0.1
    events_max_retries: InitVar[int | None] = None
    offline: bool = False
    data_storage: InitVar[None] = None
    update_processor_imp: InitVar[None] = None
    event_processor_imp: InitVar[None] = None
    http: HTTPConfig = field(default_factory=HTTPConfig)
    websocket: WebSocketConfig = field(default_factory=WebSocketConfig)
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _: KW_ONLY
    role: Literal["auto", "follower"] = "auto"
    directory: str | os.PathLike[str] | None = None
    leader_stale_limit: float = 10.0
    data_source: DataSource | None = None
    persistence_dir: str | os.PathLike[str] | None = None
    sync: Literal["auto", "streaming", "polling"] = "auto"
    polling_url: str | None = None
    polling_interval: float = 30.0
    full_sync_interval: float = 14_400.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(
        self,
        events_max_retries: object,
        data_storage: object,
        update_processor_imp: object,
        event_processor_imp: object,
    ) -> None:
        self._check_origin()
        refuse_parts(
            data_storage=data_storage,
            update_processor_imp=update_processor_imp,
            event_processor_imp=event_processor_imp,
        )
        if events_max_retries is not None:
            _positive("events_max_retries", events_max_retries)
            tell_once("events_max_retries has no effect: events are retried until they are delivered")
        for name, make in (("http", HTTPConfig), ("websocket", WebSocketConfig), ("defaults", dict)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, make())
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
        if self.directory is not None and not isinstance(self.directory, os.PathLike):
            _text("directory", self.directory)
        if self.persistence_dir is not None and not isinstance(self.persistence_dir, os.PathLike):
            _text("persistence_dir", self.persistence_dir)
        if self.sync not in ("auto", "streaming", "polling"):
            raise ConfigError(f"sync must be 'auto', 'streaming' or 'polling', not {self.sync!r}")
        if self.polling_url is not None:
            _url("polling_url", self.polling_url, ("http", "https"))
        _between("polling_interval", self.polling_interval, 1.0, 3600.0)
        _between("full_sync_interval", self.full_sync_interval, 60.0, 604_800.0)
        require_headers("headers", self.headers)
        object.__setattr__(self, "headers", dict(self.headers))
        object.__setattr__(self, "defaults", deepcopy(dict(self.defaults)))

    def _check_origin(self) -> None:
        """Refuse what leads to no data, or to no events."""
        _kind("offline", self.offline, bool)
        require_source(self.data_source)
        for name in ("env_secret", "event_url", "streaming_url"):
            _kind(name, getattr(self, name), str)
        if self.offline:
            if self.data_source is not None:
                raise ConfigError("data_source and offline exclude each other")
            return
        if self.data_source is None or self.event_url:
            _secret("env_secret", self.env_secret)
            _url("event_url", self.event_url, ("http", "https"))
        if self.data_source is None:
            _url("streaming_url", self.streaming_url, ("ws", "wss"))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **settings: Any) -> Config:
        """The configuration that environment variables describe: see ``fbshared.environ.VARIABLES``.

        Args:
            environ: the variables. One that is empty counts as not set.
            settings: fields of ``Config`` that win over variables.

        Raises:
            ConfigError: a variable is refused, or one is missing; the message names it.
        """
        values, http, websocket = parts_of(read_environ(environ))
        try:
            values |= {"http": HTTPConfig(**http), "websocket": WebSocketConfig(**websocket)}
            return cls(**{**values, **settings})
        except ConfigError as error:
            raise ConfigError(in_variables(str(error), environ)) from None

    def copy_config_in_a_new_env(
        self,
        env_secret: str,
        defaults: Mapping[str, Any] | None = None,
        data_storage: None = None,
        *,
        data_source: DataSource | None = None,
    ) -> Config:
        """The same settings for another environment; defaults are taken over unless others are given, a data source
        is not: it belongs to its environment."""
        kept = self.defaults if defaults is None else defaults
        return replace(self, env_secret=env_secret, defaults=kept, data_storage=data_storage, data_source=data_source)

    def get_default_value(self, key: str, default: Any = None) -> Any:
        """The configured default of a flag, a copy that the caller may change; else the given one."""
        return deepcopy(self.defaults[key]) if key in self.defaults else default

    def validate(self) -> None:
        """Nothing is left to check: a ``Config`` that cannot work cannot be made."""

    @property
    def is_offline(self) -> bool:
        """Whether it was made with ``offline``."""
        return self.offline

    @property
    def events_uri(self) -> str:
        """Where events are posted."""
        return insight_url(self.event_url)

    @property
    def streaming_uri(self) -> str:
        """Where the websocket connects, without its token."""
        return f"{self.streaming_url.rstrip('/')}/streaming"

    def __repr__(self) -> str:
        return masked(self)

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
    if os.path.isdir(_SHARED_MEMORY):
        return _SHARED_MEMORY
    import tempfile  # hardly ever needed, and it needs much itself

    return tempfile.gettempdir()

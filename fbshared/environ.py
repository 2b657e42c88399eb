"""The environment variables that a configuration can be read from: one table, and how each text is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fbshared.errors import ConfigError
from fbshared.sources import FileDataSource

__all__ = ["VARIABLES", "Variable", "in_variables", "parts_of", "read_environ"]

SECRET, SECRET_FILE = "FBSHARED_ENV_SECRET", "FBSHARED_ENV_SECRET_FILE"


class Variable(NamedTuple):
    """A variable's name, the field of ``Config`` that it sets (with a dot: of a part of it), and what reads it."""

    name: str
    field: str
    read: Callable[[str], Any] = str


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"must be a number, not {text!r}") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"must be a whole number, not {text!r}") from None


def _truth(text: str) -> bool:
    try:
        return {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }[text.lower()]
    except KeyError:
        raise ConfigError(f"must be true or false, not {text!r}") from None


def _login(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not colon:
        raise ConfigError("must be user:password")
    return user, password


def _authorities(path: str) -> dict[str, str]:
    return {"ca_certs": path}


VARIABLES = (
    Variable(SECRET, "env_secret"),
    Variable("FBSHARED_EVENT_URL", "event_url"),
    Variable("FBSHARED_STREAMING_URL", "streaming_url"),
    Variable("FBSHARED_DATA_FILE", "data_source", FileDataSource),
    Variable("FBSHARED_OFFLINE", "offline", _truth),
    Variable("FBSHARED_ROLE", "role"),
    Variable("FBSHARED_DIR", "directory"),
    Variable("FBSHARED_PERSISTENCE_DIR", "persistence_dir"),
    Variable("FBSHARED_SYNC", "sync"),
    Variable("FBSHARED_POLLING_URL", "polling_url"),
    Variable("FBSHARED_POLLING_INTERVAL", "polling_interval", _number),
    Variable("FBSHARED_FULL_SYNC_INTERVAL", "full_sync_interval", _number),
    Variable("FBSHARED_LEADER_STALE_LIMIT", "leader_stale_limit", _number),
    Variable("FBSHARED_STREAMING_FIRST_RETRY_DELAY", "streaming_first_retry_delay", _number),
    Variable("FBSHARED_EVENTS_MAX_IN_QUEUE", "events_max_in_queue", _whole),
    Variable("FBSHARED_EVENTS_FLUSH_INTERVAL", "events_flush_interval", _number),
    Variable("FBSHARED_EVENTS_RETRY_INTERVAL", "events_retry_interval", _number),
    Variable("FBSHARED_HTTP_CONNECT_TIMEOUT", "http.connect_timeout", _number),
    Variable("FBSHARED_HTTP_READ_TIMEOUT", "http.read_timeout", _number),
    Variable("FBSHARED_HTTP_PROXY", "http.http_proxy"),
    Variable("FBSHARED_HTTP_PROXY_AUTH", "http.http_proxy_auth", _login),
    Variable("FBSHARED_HTTP_CA_CERTS", "http.ca_certs"),
    Variable("FBSHARED_HTTP_CERT_FILE", "http.cert_file"),
    Variable("FBSHARED_HTTP_DISABLE_SSL_VERIFICATION", "http.disable_ssl_verification", _truth),
    Variable("FBSHARED_WEBSOCKET_TIMEOUT", "websocket.timeout", _number),
    Variable("FBSHARED_WEBSOCKET_CA_CERTS", "websocket.sslopt", _authorities),
    Variable("FBSHARED_WEBSOCKET_PROXY_TYPE", "websocket.proxy_type"),
    Variable("FBSHARED_WEBSOCKET_PROXY_HOST", "websocket.proxy_host"),
    Variable("FBSHARED_WEBSOCKET_PROXY_PORT", "websocket.proxy_port"),
    Variable("FBSHARED_WEBSOCKET_PROXY_AUTH", "websocket.proxy_auth", _login),
)


def read_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the variables say, by field; those that are not set, or empty, are left out.

    Raises:
        ConfigError: a text cannot be read; the message names the variable.
    """
    found: dict[str, Any] = {}
    for name, field, read in VARIABLES:
        if text := environ.get(name, "").strip():
            try:
                found[field] = read(text)
            except ConfigError as error:
                raise ConfigError(f"{name} {error}") from None
    if file := environ.get(SECRET_FILE, "").strip():
        if "env_secret" in found:
            raise ConfigError(f"{SECRET} and {SECRET_FILE} are both set: one must go")
        found["env_secret"] = _secret_in(file)
    return found


def parts_of(found: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The fields of ``Config``, those of its ``http`` and those of its ``websocket``."""
    parts: dict[str, dict[str, Any]] = {"": {}, "http": {}, "websocket": {}}
    for field, value in found.items():
        part, _, name = field.rpartition(".")
        parts[part][name] = value
    return parts[""], parts["http"], parts["websocket"]


def in_variables(message: str, environ: Mapping[str, str]) -> str:
    """A refusal that names fields, with the variables' names instead."""
    if message.startswith("env_secret "):
        if environ.get(SECRET_FILE, "").strip():
            return SECRET_FILE + message[len("env_secret") :]
        if not environ.get(SECRET, "").strip():
            return f"no secret: set {SECRET} or {SECRET_FILE}"
    for name, field, _ in sorted(VARIABLES, key=lambda variable: -len(variable.field)):
        if "." in field:
            message = message.replace(field, name)
        elif message.startswith(f"{field} "):
            message = name + message[len(field) :]
    return message


def _secret_in(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as content:
            secret = content.read().strip()
    except OSError as error:
        raise ConfigError(f"{SECRET_FILE} cannot be read: {error.strerror}: {file!r}") from None
    except ValueError:
        raise ConfigError(f"{SECRET_FILE} names a file that holds no text: {file!r}") from None
    if not secret:
        raise ConfigError(f"{SECRET_FILE} names a file that holds no secret: {file!r}")
    return secret

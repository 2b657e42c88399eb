"""How a leader's connections reach FeatBit: TLS, proxies and headers, for HTTP and for the websocket.

``HTTPConfig`` speaks for both. What ``WebSocketConfig`` says wins for the websocket.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import fbshared
from fbshared.config import Config
from fbshared.errors import ConfigError

__all__ = ["http_options", "require_usable", "websocket_options"]

log = logging.getLogger("fbshared")

_told: set[str] = set()


def require_usable(config: Config) -> None:
    """Warn once where verification is off, and refuse certificates that cannot be loaded.

    Raises:
        ConfigError: names the field.
    """
    http = config.http
    if http.disable_ssl_verification and "verification" not in _told:
        _told.add("verification")
        log.warning("http.disable_ssl_verification is set: whoever is in the way can read the secret and change flags")
    if http.ca_certs is not None or http.cert_file is not None:
        _load_certificates(http.ca_certs, http.cert_file)


def _load_certificates(ca_certs: str | None, cert_file: str | None) -> None:
    import ssl  # heavy, and needed by few

    name = "http.ca_certs"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca_certs is not None:
            context.load_verify_locations(ca_certs)
        if cert_file is not None:
            name = "http.cert_file"
            context.load_cert_chain(cert_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} cannot be used: {error}") from error


def _no_password() -> str:
    """Instead of a question at the terminal."""
    raise ValueError("the key is encrypted")


def http_options(config: Config) -> dict[str, Any]:
    """What a leader's ``HTTPSettings`` need, besides the URL."""
    http = config.http
    return {
        "secret": config.env_secret,
        "user_agent": _user_agent(),
        "headers": config.headers,
        "connect_timeout": http.connect_timeout,
        "read_timeout": http.read_timeout,
        "proxies": _proxies(config),
        "verify": False if http.disable_ssl_verification else (http.ca_certs or True),
        "cert": http.cert_file,
    }


def websocket_options(config: Config) -> dict[str, Any]:
    """What a leader's ``ConnectionSettings`` need."""
    return {
        "user_agent": _user_agent(),
        "headers": config.headers,
        "timeout": config.websocket.timeout,
        "sslopt": _sslopt(config),
        "proxy": _websocket_proxy(config),
    }


def _user_agent() -> str:
    return f"fbshared-python-server-sdk/{fbshared.__version__}"


def _proxies(config: Config) -> dict[str, str]:
    url = config.http.http_proxy
    if url is None:
        return {}
    if config.http.http_proxy_auth is not None:
        scheme, _, rest = url.partition("://")
        user, password = (quote(part, safe="") for part in config.http.http_proxy_auth)
        url = f"{scheme}://{user}:{password}@{rest.rpartition('@')[2]}"
    return {"http": url, "https": url}


def _sslopt(config: Config) -> dict[str, Any] | None:
    http = config.http
    options: dict[str, Any] = {}
    if http.ca_certs is not None:
        options["ca_certs"] = http.ca_certs
    if http.cert_file is not None:
        options["certfile"] = http.cert_file
    if http.disable_ssl_verification:
        options |= {"cert_reqs": 0, "check_hostname": False}  # ssl.CERT_NONE
    return {**options, **(config.websocket.sslopt or {})} or None


def _websocket_proxy(config: Config) -> dict[str, Any]:
    socket = config.websocket
    if socket.proxy_host is not None:
        return {
            "http_proxy_host": socket.proxy_host,
            "http_proxy_port": str(socket.proxy_port),
            "http_proxy_auth": socket.proxy_auth,
            "proxy_type": socket.proxy_type or "http",
        }
    url = urlsplit(config.http.http_proxy or "")
    if url.hostname is None or url.scheme == "https":
        return {}
    login = config.http.http_proxy_auth
    if login is None and url.username is not None:
        login = unquote(url.username), unquote(url.password or "")
    return {
        "http_proxy_host": url.hostname,
        "http_proxy_port": str(url.port or (80 if url.scheme == "http" else 1080)),
        "http_proxy_auth": login,
        "proxy_type": url.scheme,
    }

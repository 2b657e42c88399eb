"""One websocket connection to FeatBit: messages in, messages out, and why it ended.

The low-level ``WebSocket`` is used because the library's application class hides close codes in its newest
versions, and because its close from another thread waits for seconds.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import websocket
from websocket import ABNF

from fbshared.leader.http import PROXY_LOGIN, proxy_status
from fbshared.leader.settings import ConnectionSettings
from fbshared.leader.wake import Wake, wait_for
from fbshared.shm.control import SyncError

__all__ = ["Connection", "Ended"]

REFUSED_CODE = 4003
_NO_FRAME = 1006

_ProxyRefused: tuple[type[Exception], ...] = (websocket.WebSocketProxyException,)
_TooLate: tuple[type[Exception], ...] = (websocket.WebSocketTimeoutException,)
try:
    import python_socks
except ImportError:  # the extra fbshared[socks]: without it nothing raises these
    pass
else:
    _ProxyRefused += (python_socks.ProxyError,)
    _TooLate += (python_socks.ProxyTimeoutError,)


class Ended(Exception):  # noqa: N818 - an end, not an error
    """The connection is over or never came up."""

    def __init__(self, error: SyncError, detail: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(f"{error.name.lower().replace('_', ' ')} ({detail})" if detail else error.name.lower())
        self.error = error
        self.detail = detail
        self.retry_after = retry_after


class _Socket(websocket.WebSocket):
    def send_close(self, status: int = websocket.STATUS_NORMAL, reason: str | bytes = b"") -> None:
        """Say goodbye. A peer that is gone already must not hide the code of the close frame that is answered."""
        try:
            super().send_close(status, reason)
        except (OSError, websocket.WebSocketException):
            pass


class Connection:
    """An open connection. ``Ended`` is raised by everything that finds it closed."""

    def __init__(self, url: str, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._socket = _translated(
            lambda: websocket.create_connection(
                url,
                timeout=settings.timeout,
                header={"User-Agent": settings.user_agent, **settings.headers},
                suppress_origin=True,
                sslopt=dict(settings.sslopt or {}),
                skip_utf8_validation=True,
                class_=_Socket,
                **_proxy_options(settings),
            )
        )

    def send(self, text: str) -> None:
        """Send one text message."""
        _translated(lambda: self._socket.send(text))

    def ready(self, wake: Wake, timeout: float) -> bool:
        """Wait until something can be read, ``wake`` is set, or ``timeout`` seconds are over."""
        sock = self._socket.sock
        if sock is None:
            raise Ended(SyncError.CLOSED, _NO_FRAME)
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        return sock.fileno() in _translated(lambda: wait_for((sock.fileno(), wake.fileno()), timeout))

    def receive(self) -> bytes | None:
        """The next message's bytes, None for what is none."""
        opcode, frame = _translated(lambda: self._socket.recv_data_frame(control_frame=True))
        if opcode == ABNF.OPCODE_CLOSE:
            code = int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else 1005
            raise Ended(SyncError.REQUEST_REFUSED if code == REFUSED_CODE else SyncError.CLOSED, code)
        if opcode not in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
            return None
        if len(frame.data) > self._settings.largest_message:
            raise Ended(SyncError.DATA, 1009)
        data: bytes = frame.data
        return data

    def close(self) -> None:
        """Say goodbye without waiting for an answer, and close the socket."""
        if self._socket.sock is not None:
            self._socket.sock.settimeout(0.5)
            self._socket.send_close()
        self.drop()

    def drop(self) -> None:
        """Close this process's descriptor without a word: the connection may belong to the parent."""
        self._socket.shutdown()


def _translated(call: Callable[[], Any]) -> Any:
    """The library's exceptions, each as the reason that people and programs get to see."""
    try:
        return call()
    except websocket.WebSocketBadStatusException as error:
        if error.status_code == PROXY_LOGIN:
            raise Ended(SyncError.PROXY, PROXY_LOGIN) from error
        headers = error.resp_headers or {}
        raise Ended(SyncError.HANDSHAKE, error.status_code, _seconds(headers.get("retry-after"))) from error
    except websocket.WebSocketConnectionClosedException as error:
        raise Ended(SyncError.CLOSED, _NO_FRAME) from error
    except _TooLate as error:
        raise Ended(SyncError.SILENCE) from error
    except _ProxyRefused as error:
        raise Ended(SyncError.PROXY, proxy_status(error)) from error
    except (OSError, ValueError, websocket.WebSocketException) as error:
        raise Ended(SyncError.NETWORK) from error


def _proxy_options(settings: ConnectionSettings) -> dict[str, Any]:
    """A configured proxy is the way to every host. The library would go past it to a loopback address and to what
    $NO_PROXY names, unless it has such names from here."""
    if not settings.proxy:
        return {}
    return {"http_no_proxy": ["no.host.invalid"], "http_proxy_timeout": settings.timeout, **settings.proxy}


def _seconds(value: object) -> float:
    return min(float(value), 600.0) if isinstance(value, str) and value.strip().isdecimal() else 0.0

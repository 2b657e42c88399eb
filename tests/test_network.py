"""TLS, proxies and headers against real ones: every setting reaches both channels, and a wrong one is told."""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from fbshared import Config, ConfigError, FBClient, HTTPConfig, WebSocketConfig, checks
from fbshared.network import _told, http_options, websocket_options
from fbshared.shm.control import Control, DeliveryState, SyncError, SyncState, Transport
from fbshared.testing import FeatBitServer, bootstrap, flag
from tests.relays import ConnectProxy, SocksProxy, TLSFront
from tests.waiting import eventually

USER = {"key": "ada", "name": "Ada"}
LOGIN = ("ada", "p@ss:word/")


@dataclass
class Certificates:
    """Files of one authority: itself, and a client's certificate with its key."""

    ca: str
    client: str
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    authority.issue_cert("client@bank").private_key_and_cert_chain_pem.write_to_path(str(directory / "client.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    return Certificates(str(directory / "ca.pem"), str(directory / "client.pem"), context)


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("on")])) as started:
        yield started


@pytest.fixture
def front(server: FeatBitServer, certificates: Certificates) -> Iterator[TLSFront]:
    certificates.context.verify_mode = ssl.CERT_NONE
    made = TLSFront(certificates.context, server.port)
    with made:
        yield made


@pytest.fixture
def connect(server: FeatBitServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FBClient]]:
    """Makes a client of the server, through a front when there is one."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made: list[FBClient] = []

    def connected(front: TLSFront | None = None, start_wait: float = 15.0, **options: Any) -> FBClient:
        options = {"streaming_first_retry_delay": 0.05, "events_flush_interval": 0.05} | options
        urls = server.event_url, server.streaming_url
        if front is not None:
            urls = f"https://localhost:{front.port}", f"wss://localhost:{front.port}"
        made.append(FBClient(Config(server.secret, *urls, **options), start_wait))
        return made[-1]

    yield connected
    for client in made:
        client.stop()


Connect = Callable[..., FBClient]


def control_of(client: FBClient) -> Control:
    return client._member.region.control


def assert_all_works(client: FBClient, server: FeatBitServer, transport: Transport = Transport.STREAMING) -> None:
    """Data comes, and events go."""
    assert client.initialize
    assert client.variation("on", USER, False) is True
    assert client.flush(10)
    assert server.wait_for(lambda s: s.event_count > 0)
    assert transport == control_of(client).transport


# TLS


@pytest.mark.parametrize("sync", ["streaming", "polling"])
def test_an_authority_of_our_own(
    connect: Connect, server: FeatBitServer, front: TLSFront, certificates: Certificates, sync: str
) -> None:
    """One file of trusted certificates serves the websocket, the polls and the events."""
    client = connect(front, sync=sync, http=HTTPConfig(ca_certs=certificates.ca))

    assert_all_works(client, server, Transport[sync.upper()])


def test_an_authority_that_nobody_trusts(connect: Connect, server: FeatBitServer, front: TLSFront) -> None:
    """Without it neither channel says a word to the server."""
    client = connect(front, start_wait=1.0)
    client.identify(USER)
    assert eventually(lambda: control_of(client).delivery_state == DeliveryState.RETRYING)

    assert not client.initialize
    assert SyncError.NETWORK == control_of(client).sync_error
    assert ([], []) == (server.connections, server.requests)


def test_a_client_certificate(
    connect: Connect, server: FeatBitServer, front: TLSFront, certificates: Certificates
) -> None:
    """A server that wants a client's certificate gets it on both channels, and one without it is not let in."""
    certificates.context.verify_mode = ssl.CERT_REQUIRED
    without = connect(front, start_wait=0.5, http=HTTPConfig(ca_certs=certificates.ca))
    assert not without.initialize
    assert ([], []) == (server.connections, server.requests)
    without.stop()
    client = connect(front, http=HTTPConfig(ca_certs=certificates.ca, cert_file=certificates.client))

    assert_all_works(client, server)


def test_no_verification(
    connect: Connect, server: FeatBitServer, front: TLSFront, caplog: pytest.LogCaptureFixture
) -> None:
    """Switched off it is for both channels; that is warned of once."""
    _told.clear()
    options = {"http": HTTPConfig(disable_ssl_verification=True)}
    assert_all_works(connect(front, **options), server)
    connect(front, **options)

    assert 1 == caplog.text.count("disable_ssl_verification")


def test_the_websocket_may_differ(
    connect: Connect, server: FeatBitServer, front: TLSFront, certificates: Certificates
) -> None:
    """What ``sslopt`` says wins for the websocket, and what it does not say stays."""
    http = HTTPConfig(ca_certs="/dev/null", cert_file="/dev/null")
    websocket = WebSocketConfig(sslopt={"ca_certs": certificates.ca})
    config = Config(server.secret, server.event_url, server.streaming_url, http=http, websocket=websocket)
    assert {"ca_certs": certificates.ca, "certfile": "/dev/null"} == websocket_options(config)["sslopt"]

    client = connect(front, websocket=websocket)
    assert client.initialize
    assert eventually(lambda: control_of(client).sync_state == SyncState.OK)


@pytest.mark.parametrize("field", ["ca_certs", "cert_file"])
def test_files_that_cannot_be_used(
    connect: Connect, certificates: Certificates, tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing or senseless file is refused at once by who may lead, and the error names the setting."""
    (tmp_path / "text").write_text("no certificate")
    for path in (str(tmp_path / "missing"), str(tmp_path / "text")):
        with pytest.raises(ConfigError, match=rf"http\.{field}"):
            connect(http=HTTPConfig(**{field: path}))
    follower = connect(role="follower", start_wait=0, http=HTTPConfig(**{field: str(tmp_path / "missing")}))

    assert not follower.initialize


def test_an_encrypted_key(connect: Connect, tmp_path: Path) -> None:
    """Nobody is asked for a password at the terminal."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    made = trustme.CA().issue_cert("client@bank")
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    locked = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"pass"))
    (tmp_path / "client.pem").write_bytes(locked + made.cert_chain_pems[0].bytes())

    with pytest.raises(ConfigError, match=r"http\.cert_file"):
        connect(http=HTTPConfig(cert_file=str(tmp_path / "client.pem")))


# Proxies


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("sync", ["streaming", "polling"])
def test_an_http_proxy(
    connect: Connect,
    server: FeatBitServer,
    front: TLSFront,
    certificates: Certificates,
    login: tuple[str, str] | None,
    sync: str,
) -> None:
    """One setting sends both channels through it, with its login, also to a loopback address."""
    with ConnectProxy(login) as proxy:
        http = HTTPConfig(ca_certs=certificates.ca, http_proxy=f"http://127.0.0.1:{proxy.port}", http_proxy_auth=login)
        client = connect(front, http=http, sync=sync)

        assert_all_works(client, server, Transport[sync.upper()])
        client.stop()
        assert len(proxy.passed) >= 2
        assert {("localhost", front.port)} == set(proxy.passed)
        assert len(front.passed) == len(proxy.passed)


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("sync", ["streaming", "polling"])
def test_a_socks_proxy(
    connect: Connect, server: FeatBitServer, login: tuple[str, str] | None, scheme: str, sync: str
) -> None:
    """The same through SOCKS; with ``socks5h`` the proxy looks names up."""
    with SocksProxy(login) as proxy:
        http = HTTPConfig(http_proxy=f"{scheme}://127.0.0.1:{proxy.port}", http_proxy_auth=login)
        port = server.port
        urls = {"event_url": f"http://localhost:{port}", "streaming_url": f"ws://localhost:{port}"}
        with FBClient(Config(server.secret, **urls, http=http, sync=sync)) as client:
            assert_all_works(client, server, Transport[sync.upper()])
        assert len(proxy.passed) >= 2
        assert (scheme == "socks5h") == bool(proxy.names)


def test_a_proxy_for_the_websocket_alone(connect: Connect, server: FeatBitServer) -> None:
    """It wins over the proxy for HTTP."""
    with SocksProxy() as socks:
        websocket = WebSocketConfig(proxy_type="socks5", proxy_host="127.0.0.1", proxy_port=socks.port)
        client = connect(websocket=websocket)

        assert_all_works(client, server)
        client.stop()
        assert 1 == len(socks.passed)


def test_a_login_in_the_url(server: FeatBitServer) -> None:
    """User and password may stand in the proxy's URL, for both channels."""
    http = HTTPConfig(http_proxy="http://ada:p%40ss@proxy:3128")
    config = Config(server.secret, server.event_url, server.streaming_url, http=http)

    assert "http://ada:p%40ss@proxy:3128" == http_options(config)["proxies"]["https"]
    proxy = websocket_options(config)["proxy"]
    assert ("proxy", "3128", ("ada", "p@ss"), "http") == tuple(
        proxy[name] for name in ("http_proxy_host", "http_proxy_port", "http_proxy_auth", "proxy_type")
    )


def test_no_websocket_through_a_tls_proxy(server: FeatBitServer) -> None:
    """An https:// proxy is no way for a websocket: it goes past it."""
    http = HTTPConfig(http_proxy="https://proxy:3128")

    assert {} == websocket_options(Config(server.secret, "http://a", "ws://a", http=http))["proxy"]


def test_the_wrong_login(connect: Connect, server: FeatBitServer, front: TLSFront, certificates: Certificates) -> None:
    """A proxy that does not let us through is told from a network that is down, with its status."""
    with ConnectProxy(LOGIN) as proxy:
        http = HTTPConfig(
            ca_certs=certificates.ca, http_proxy=f"http://127.0.0.1:{proxy.port}", http_proxy_auth=("ada", "wrong")
        )
        client = connect(front, start_wait=0, sync="streaming", http=http)
        assert eventually(lambda: control_of(client).sync_state == SyncState.INTERRUPTED)

        assert (SyncError.PROXY, 407) == (control_of(client).sync_error, control_of(client).sync_detail)
        client.stop()
        assert [] == proxy.passed


@pytest.mark.parametrize("tunnel", [False, True])
def test_the_wrong_login_for_requests(
    connect: Connect,
    server: FeatBitServer,
    front: TLSFront,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    tunnel: bool,
) -> None:
    """It is the proxy and not FeatBit that refuses a poll and the events: said so, with the status and without a
    login, and tried again as after trouble with the network; neither is FeatBit's refusal."""
    with ConnectProxy(LOGIN) as proxy:
        http = HTTPConfig(
            ca_certs=certificates.ca, http_proxy=f"http://127.0.0.1:{proxy.port}", http_proxy_auth=("ada", "wrong")
        )
        client = connect(front if tunnel else None, start_wait=0, sync="polling", http=http)
        client.identify(USER)
        control = control_of(client)
        assert eventually(lambda: control.sync_state == SyncState.INTERRUPTED)
        assert eventually(lambda: control.delivery_state == DeliveryState.RETRYING)
        assert eventually(lambda: proxy.refused >= 5)
        retry_in = control.delivery_retry_at / 1000 - time.time()
        client.stop(0.5)

    assert (SyncError.PROXY, 407, 407) == (control.sync_error, control.sync_detail, control.delivery_status)
    assert retry_in < 60
    assert ([], []) == (server.requests, server.connections)
    assert 1 == caplog.text.count("the proxy lets no events through (status 407)")
    assert "FeatBit refuses" not in caplog.text
    assert "wrong" not in caplog.text


def test_the_wrong_login_for_socks(connect: Connect, server: FeatBitServer, caplog: pytest.LogCaptureFixture) -> None:
    """The same with SOCKS; the sync goes on trying."""
    with SocksProxy(LOGIN) as proxy:
        websocket = WebSocketConfig(
            proxy_type="socks5", proxy_host="127.0.0.1", proxy_port=proxy.port, proxy_auth=("ada", "wrong")
        )
        client = connect(start_wait=0, sync="streaming", websocket=websocket)

        assert eventually(lambda: proxy.refused >= 3)
        assert SyncError.PROXY == control_of(client).sync_error
        assert "wrong" not in caplog.text
        client.stop()


def test_a_proxy_that_hates_websockets(
    connect: Connect, server: FeatBitServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where only the websocket's way is closed, the client polls and is well."""
    caplog.set_level(logging.INFO, "fbshared")
    with ConnectProxy(LOGIN) as proxy:
        client = connect(websocket=WebSocketConfig(proxy_host="127.0.0.1", proxy_port=proxy.port))

        assert_all_works(client, server, Transport.POLLING)
        assert 3 <= proxy.refused <= 4, "until it polled, and once more when that worked"
        client.stop()


def test_a_poll_that_hangs(connect: Connect) -> None:
    """Nobody waits for it: neither who makes a client nor who stops one."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        begun = time.monotonic()
        client = connect(start_wait=0.3, sync="polling", polling_url=url, http=HTTPConfig(read_timeout=30.0))
        mute.settimeout(10)
        peer, _ = mute.accept()
        client.stop(0.5)
        took = time.monotonic() - begun
        peer.close()

    assert took < 15.0


# What the extra brings


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy is refused where its libraries are missing, and the error says what to install."""
    monkeypatch.setattr(checks, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"http\.http_proxy.*fbshared\[socks\]"):
        HTTPConfig(http_proxy="socks5://127.0.0.1:1080")
    with pytest.raises(ConfigError, match=r"websocket\.proxy_type.*fbshared\[socks\]"):
        WebSocketConfig(proxy_type="socks4", proxy_host="p", proxy_port=1080)
    HTTPConfig(http_proxy="http://127.0.0.1:3128")


# Headers


@pytest.mark.parametrize("sync", ["streaming", "polling"])
def test_headers_go_everywhere(connect: Connect, server: FeatBitServer, sync: str) -> None:
    """The application's headers are in the handshake, in polls and in deliveries, beside what FeatBit needs."""
    client = connect(sync=sync, headers={"X-Tenant": "bank", "User-Agent": "bank/1"})
    assert_all_works(client, server, Transport[sync.upper()])
    seen = [record.headers for record in (*server.connections, *server.requests)]

    assert len(seen) >= 2
    assert {("bank", "bank/1")} == {(headers["X-Tenant"], headers["User-Agent"]) for headers in seen}
    assert server.secret == server.insight_requests[0].headers["Authorization"]

"""The state of the data: what the leader shows, as any process reads it."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fbshared import Config, FBClient, State, StateType, status_types
from fbshared.shm.control import CONTROL_SIZE, Control, SyncError, SyncState, birth
from fbshared.status_types import ErrorTrack
from fbshared.testing import FeatBitServer, bootstrap, flag
from fbshared.update_status import NOBODY_LEADS, DataUpdateStatusProvider
from tests.waiting import eventually

BORN, SINCE = 1_000, 2_000


class Shown:
    """A provider over a control page that the test writes."""

    def __init__(self) -> None:
        self.control = Control.over(bytearray(birth((1, 2), BORN)))
        assert CONTROL_SIZE == len(birth((1, 2), BORN))
        self.ready = True
        self.looks = 0
        self.provider = DataUpdateStatusProvider(self._member)  # type: ignore[arg-type]

    def _member(self) -> Any:
        self.looks += 1
        return SimpleNamespace(region=self, refresh=lambda: self)

    def show(self, state: int, error: int = SyncError.NONE, detail: int = 0, heard: float = 0.0) -> State:
        control = self.control
        control.sync_since, control.sync_error, control.sync_detail = SINCE, error, detail
        control.data_current_at = int(heard * 1000)
        control.sync_state = state
        return self.provider.current_state


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_states(shown: Shown) -> None:
    """Each state of the leader's connection is the reference's state, since when the leader says."""
    kinds = {state: shown.show(state, heard=time.time()) for state in SyncState}

    assert {
        SyncState.STARTING: State(StateType.INITIALIZING, BORN / 1000),
        SyncState.OK: State(StateType.OK, SINCE / 1000),
        SyncState.INTERRUPTED: State(StateType.INTERRUPTED, SINCE / 1000),
        SyncState.REFUSED: State(StateType.OFF, SINCE / 1000),
        SyncState.OFF: State(StateType.OFF, SINCE / 1000),
    } == kinds
    assert StateType.INTERRUPTED is shown.show(77).state_type


@pytest.mark.parametrize(
    ("error", "detail", "kind", "words"),
    [
        (SyncError.NETWORK, 0, status_types.NETWORK_ERROR, "no connection"),
        (SyncError.CLOSED, 1011, status_types.UNKNOWN_CLOSE_CODE, "1011"),
        (SyncError.HANDSHAKE, 503, status_types.WEBSOCKET_ERROR, "503"),
        (SyncError.SILENCE, 0, status_types.WEBSOCKET_ERROR, "nothing"),
        (SyncError.REQUEST_REFUSED, 4003, status_types.REQUEST_INVALID_ERROR, "4003"),
        (SyncError.DATA, 0, status_types.DATA_INVALID_ERROR, "not understood"),
        (SyncError.STORAGE, 28, status_types.DATA_STORAGE_UPDATE_ERROR, "cannot be written"),
        (SyncError.UNKNOWN, 0, status_types.UNKNOWN_ERROR, "unknown"),
        (99, 0, status_types.UNKNOWN_ERROR, "unknown"),
    ],
)
def test_errors(shown: Shown, error: int, detail: int, kind: str, words: str) -> None:
    """An interruption says why: the reference's error type, a sentence, and the code or status that belongs to it."""
    track = shown.show(SyncState.INTERRUPTED, error, detail).error_track

    assert track is not None
    assert (kind, detail) == (track.error_type, track.detail)
    assert words in track.message


def test_without_data(shown: Shown) -> None:
    """Before there is data an interruption is still initializing, and says its error; a refusal is off."""
    shown.ready = False
    state = shown.show(SyncState.INTERRUPTED, SyncError.NETWORK)

    assert (StateType.INITIALIZING, BORN / 1000) == (state.state_type, state.state_since)
    assert state.error_track is not None
    assert StateType.INITIALIZING is shown.show(SyncState.OK, heard=time.time()).state_type
    assert StateType.OFF is shown.show(SyncState.REFUSED).state_type


def test_nobody_leads(shown: Shown) -> None:
    """Sync that nobody has heard of for long is interrupted, since it was heard of last, whatever is still shown."""
    heard = int(time.time() - 61)
    shown.control.longest_silence = 60_000

    assert State(StateType.INTERRUPTED, heard, NOBODY_LEADS) == shown.show(SyncState.OK, heard=heard)
    assert StateType.OK is shown.show(SyncState.OK, heard=heard + 30).state_type
    shown.control.longest_silence = 3_660_000
    assert StateType.OK is shown.show(SyncState.OK, heard=heard).state_type, "a leader that polls once an hour"
    assert StateType.OK is shown.show(SyncState.OK).state_type, "no time is known, for example offline"


def test_a_state_is_read_in_one_piece(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that the leader writes at this moment is read again until its words belong together."""
    from fbshared import update_status

    reads = iter([(2, 1000, 1, 0), (1, 1000, 1, 0), (1, 3000, 0, 0), (1, 3000, 0, 0)])
    monkeypatch.setattr(update_status, "_words", lambda control: next(reads))
    shown.control.data_current_at = int(time.time() * 1000)

    assert State(StateType.OK, 3.0) == shown.provider.current_state


def test_ages_and_versions(shown: Shown) -> None:
    """The data's age is known once it was current, and so are its version and whether there is any."""
    assert shown.provider.data_age is None

    shown.show(SyncState.INTERRUPTED, heard=time.time() - 100)
    shown.control.data_version = 17
    age = shown.provider.data_age

    assert age is not None
    assert 99 < age < 160
    assert 17 == shown.provider.latest_version
    assert shown.provider.initialized


def test_waiting(shown: Shown) -> None:
    """Waiting ends with the state, or after the time that was given."""
    shown.ready = False
    before = time.monotonic()

    assert not shown.provider.wait_for_OKState(0.05)
    assert 0.05 <= time.monotonic() - before < 5

    threading.Timer(0.05, lambda: (setattr(shown, "ready", True), shown.show(SyncState.OK, heard=time.time()))).start()

    assert shown.provider.wait_for_OKState()

    shown.show(SyncState.REFUSED)

    assert not shown.provider.wait_for_OKState(0)


def test_no_thread_for_asking(shown: Shown) -> None:
    """Asking for the state starts no thread, and nobody looks when nobody listens."""
    shown.show(SyncState.OK, heard=time.time())

    assert "fbshared-watcher" not in {thread.name for thread in threading.enumerate()}


# With a server


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("on")])) as server:
        yield server


Make = Callable[..., FBClient]


@pytest.fixture
def make(server: FeatBitServer) -> Iterator[Make]:
    made: list[FBClient] = []

    def client(start_wait: float = 10.0) -> FBClient:
        config = Config(server.secret, server.event_url, server.streaming_url, streaming_first_retry_delay=0.3)
        made.append(FBClient(config, start_wait))
        return made[-1]

    yield client
    for each in made:
        each.stop(5)


def test_an_interruption_is_told(make: Make, server: FeatBitServer) -> None:
    """A listener is told when sync is interrupted, and why, when it is well again, and last that the client is off."""
    provider = make().update_status_provider
    assert provider.wait_for_OKState(10)
    told: list[State] = []
    provider.add_listener(told.append)
    provider.add_listener(told.append)
    server.refuse_handshake(503)
    server.drop_connections(1011)
    assert eventually(lambda: told and told[-1].error_track and told[-1].error_track.detail == 503)
    server.accept()

    assert eventually(lambda: told[-1].state_type is StateType.OK)
    assert StateType.INTERRUPTED is told[0].state_type
    assert ErrorTrack(status_types.UNKNOWN_CLOSE_CODE, told[0].error_track.message, 1011) == told[0].error_track
    assert abs(told[0].state_since - time.time()) < 60
    assert provider.data_age is not None


def test_stopping_tells_last(make: Make) -> None:
    """The last thing that a listener is told is that the client was stopped, also when another one raises or stops."""
    client = make()
    provider = client.update_status_provider
    assert provider.wait_for_OKState(10)
    told: list[StateType] = []
    removed: list[State] = []

    def raises(state: State) -> None:
        raise ValueError

    for listener in (raises, lambda state: client.stop(), lambda state: told.append(state.state_type), removed.append):
        provider.add_listener(listener)
    provider.remove_listener(removed.append)
    client.stop()

    assert [StateType.OFF] == told
    assert [] == removed
    assert StateType.OFF is provider.current_state.state_type
    assert not provider.wait_for_OKState()
    assert eventually(lambda: "fbshared-watcher" not in {thread.name for thread in threading.enumerate()})


def test_a_refusal(make: Make, server: FeatBitServer) -> None:
    """A refused environment is off, at once for whoever waits, with its causes."""
    server.refuse(4003)
    client = make(start_wait=0)

    assert not client.update_status_provider.wait_for_OKState(20)

    state = client.update_status_provider.current_state

    assert StateType.OFF is state.state_type
    assert state.error_track is not None
    assert (status_types.REQUEST_INVALID_ERROR, 4003) == (state.error_track.error_type, state.error_track.detail)


def test_what_is_no_listener(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Something that cannot be called is left out with a warning."""
    make().update_status_provider.add_listener("print")  # type: ignore[arg-type]  # that is the point

    assert ["a status listener must be a function; it is left out"] == [
        record.getMessage() for record in caplog.records if record.levelname == "WARNING"
    ]
    assert "fbshared-watcher" not in {thread.name for thread in threading.enumerate()}


def test_the_names_are_the_references(make: Make) -> None:
    """What an application calls has the reference's names."""
    interfaces = pytest.importorskip("fbclient.interfaces")
    internal = {"init", "upsert", "update_state"}  # for what writes data, which is another process here
    names = {name for name in vars(interfaces.DataUpdateStatusProvider) if not name.startswith("_")}
    provider = make().update_status_provider

    assert set() == {name for name in names - internal if not hasattr(provider, name)}

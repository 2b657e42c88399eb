"""Sync against the local server: one connection, everything applied and published, every end seen as what it is."""

import errno
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from fbshared.core.model import EMPTY, Dataset
from fbshared.core.wire import parse
from fbshared.leader.connection import Connection
from fbshared.leader.delays import delays
from fbshared.leader.settings import ConnectionSettings, SyncSettings
from fbshared.leader.sync import Sync
from fbshared.leader.wake import Wake
from fbshared.shm.control import Control, SyncError, SyncState, birth
from fbshared.shm.packing import Difference
from fbshared.testing import FeatBitServer, flag, segment_id
from tests.leader.publications import Publications

Eventually = Callable[..., bool]
CURSOR = 1_700_000_002_000  # of the server's data


class Line:
    """A sync and the thread that it runs in; what it publishes is kept."""

    def __init__(
        self,
        server: FeatBitServer,
        halt: Wake,
        control: Control,
        dataset: Dataset = EMPTY,
        *,
        synced: bool = False,
        behind: bool = False,
        **changes: Any,
    ) -> None:
        self.halt, self.control = halt, control
        self.published = Publications()
        self.failing = False
        self.holds = True
        settings = SyncSettings(
            url=server.streaming_url,
            secret=server.secret,
            connection=ConnectionSettings(user_agent="test/1", timeout=10.0),
            first_retry=0.05,
        )
        settings = replace(settings, **changes)
        self.sync = Sync(settings, dataset, self._publish, control, lambda: self.holds, synced=synced, behind=behind)
        self._thread: threading.Thread | None = None

    def _publish(self, dataset: Dataset, synced: bool, difference: Difference | None) -> None:
        assert synced
        if self.failing:
            raise OSError(errno.ENOSPC, "no room")
        self.published.add(dataset, difference)

    def start(self) -> "Line":
        self._thread = threading.Thread(target=self.sync.run, args=(self.halt,))
        self._thread.start()
        return self

    def end(self) -> None:
        self.halt.set()
        if self._thread is not None:
            self._thread.join(10)
            assert not self._thread.is_alive()
        self._thread = None

    @property
    def runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def flags(self) -> set[str]:
        """The living flags of the last publication."""
        if not self.published:
            return set()
        return {key for key, item in self.published[-1].flags.items() if not item.archived}

    @property
    def well(self) -> bool:
        return self.control.sync_state == SyncState.OK


Make = Callable[..., Line]


@pytest.fixture
def control() -> Control:
    return Control.over(bytearray(birth((1, 2), 3)))


@pytest.fixture
def make(server: FeatBitServer, halt: Wake, control: Control) -> Iterator[Make]:
    made: list[Line] = []

    def line(*args: Any, **keywords: Any) -> Line:
        made.append(Line(server, halt, control, *args, **keywords))
        return made[-1]

    yield line
    for each in made:
        each.end()
        each.sync.close()


def known(server: FeatBitServer) -> Dataset:
    message = parse(server.message())
    assert message is not None
    return Dataset.of(message.items)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# The usual


def test_a_full(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """The first answer is published whole, and then all is well."""
    line = make().start()

    assert eventually(lambda: line.well)
    assert [known(server)] == line.published
    assert [0] == server.connections[0].cursors
    assert (1, SyncError.NONE, 0) == (control.connections, control.sync_error, control.unreachable)
    assert control.data_current_at > 0
    assert line.sync.failing_since > time.monotonic()


def test_a_patch(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Every change is published; what happens together is published together."""
    line = make().start()
    assert eventually(lambda: line.well)
    server.put_flag(flag("new"))
    assert eventually(lambda: {"dark-mode", "new"} == line.flags)
    server.archive_flag("new")
    assert eventually(lambda: {"dark-mode"} == line.flags)

    assert 2 == line.published.told  # how it differs, so that nobody has to look for that

    line.end()  # or each might be published before the next one is there
    for number in range(100):
        server.put_flag(flag(f"f{number}"))
    line.halt.clear()
    line.start()
    assert eventually(lambda: 101 == len(line.flags))
    assert len(line.published) < 50


def test_a_patch_before_the_full(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A push that overtakes the first full is no environment, and is not lost either."""
    server.mute_data_sync()
    line = make().start()
    assert server.wait_for(lambda s: s.connections and s.connections[0].cursors)
    early = server.message()
    time_of_push = server.put_flag(flag("pushed"))
    assert time_of_push > 0
    assert not eventually(lambda: line.published, timeout=0.2)
    server.send_raw(early)

    assert eventually(lambda: {"dark-mode", "pushed"} == line.flags)


def test_who_is_behind_waits_for_an_answer(
    server: FeatBitServer, make: Make, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """There is something to publish, and nothing that could be done before FeatBit says something."""
    waits: list[float] = []
    ready = Connection.ready

    def noted(self: Connection, wake: Wake, timeout: float) -> bool:
        waits.append(timeout)
        return ready(self, wake, timeout)

    monkeypatch.setattr(Connection, "ready", noted)
    server.mute_data_sync()
    line = make(known(server), synced=True, behind=True)
    line.sync.republish()
    line.start()

    assert eventually(lambda: len(waits) >= 2)
    assert min(waits) > 0.5
    assert [] == line.published


def test_it_resumes_behind_the_cursor(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """With a published dataset only what is newer is asked for, a minute more than that for safety."""
    line = make(known(server), synced=True).start()
    assert eventually(lambda: line.well)

    assert [CURSOR - 60_000] == server.connections[0].cursors
    assert [] == line.published


def test_it_resumes_after_a_loss(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A lost connection is made again, and brings what happened meanwhile."""
    line = make().start()
    assert eventually(lambda: line.well)
    server.refuse_handshake(503)
    server.drop_connections(None)
    assert eventually(lambda: not line.well)
    server.put_flag(flag("meanwhile"), push=False)
    server.accept()

    assert eventually(lambda: {"dark-mode", "meanwhile"} == line.flags)
    assert eventually(lambda: line.well)
    assert CURSOR - 60_000 == server.connections[-1].cursors[0]


def test_broken_items_are_counted(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """Messages and items that nobody understands cost themselves; the rest is applied."""
    line = make().start()
    assert eventually(lambda: line.well)
    data = {"eventType": "patch", "featureFlags": [{"nothing": 1}, flag("good")], "segments": []}
    server.send_raw("{")
    server.send_raw(json.dumps({"messageType": "data-sync", "data": data}))

    assert eventually(lambda: {"dark-mode", "good"} == line.flags)
    assert 2 == control.items_broken


def test_a_pause_keeps_the_connection(server: FeatBitServer, make: Make, halt: Wake, eventually: Eventually) -> None:
    """It can stop and run again on the same connection; what came meanwhile is applied."""
    line = make().start()
    assert eventually(lambda: line.well)
    line.end()
    server.put_flag(flag("meanwhile"))
    halt.clear()
    line.start()

    assert eventually(lambda: "meanwhile" in line.flags)
    assert 1 == len(server.connections)


def test_ends_are_clean(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Closing says goodbye, dropping says nothing, and both can be said twice."""
    line = make().start()
    assert eventually(lambda: line.well)
    line.end()
    line.sync.close()
    line.sync.close()
    line.sync.drop()

    assert server.wait_for(lambda s: s.connections[0].close_code == 1000)


def test_a_lost_lead(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Who does not lead any more reads and publishes nothing."""
    line = make().start()
    assert eventually(lambda: line.well)
    count = len(line.published)
    line.holds = False
    server.put_flag(flag("for the new leader"))

    assert eventually(lambda: not line.runs)
    assert count == len(line.published)


def test_a_lead_lost_while_connecting(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A connection that came up too late is closed at once and never asks for data."""
    line = make()
    answers = iter([True, False])
    line.sync._holds = lambda: next(answers, False)
    line.start()

    assert eventually(lambda: not line.runs)
    assert server.wait_for(lambda s: s.connections and s.connections[0].closed_at)
    assert [] == server.connections[0].messages


def test_a_lead_lost_before_the_connection_fails(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually
) -> None:
    """What the new leader shows is not overwritten by the failure of the old one's connection."""
    server.refuse_handshake(503)
    line = make()
    control.sync_state = SyncState.OK
    answers = iter([True])
    line.sync._holds = lambda: next(answers, False)
    line.start()

    assert eventually(lambda: not line.runs)
    assert 1 == len(server.connections)
    assert (SyncState.OK, SyncError.NONE, 0) == (control.sync_state, control.sync_error, control.sync_retry_at)


# Ends


@pytest.mark.parametrize("code", [1000, 1011, 1001])
def test_a_closed_connection(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually, code: int
) -> None:
    """The code is shown until it is over."""
    server.refuse(code)
    line = make().start()

    assert eventually(lambda: control.sync_state == SyncState.INTERRUPTED)
    assert (SyncError.CLOSED, code) == (control.sync_error, control.sync_detail)
    server.accept()
    assert eventually(lambda: line.well)
    assert (SyncError.NONE, 0) == (control.sync_error, control.sync_detail)


def test_no_server(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """It tries on, and says once what is the matter."""
    server.stop()
    line = make().start()
    assert eventually(lambda: control.sync_error == SyncError.NETWORK)
    assert line.sync.failing_since <= time.monotonic()
    server.start()

    assert eventually(lambda: line.well)


def test_one_warning_for_one_condition(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Failing again in the same way is no news; after a recovery it is."""
    server.refuse_handshake(502)
    line = make().start()
    assert server.wait_for(lambda s: len(s.connections) >= 3)
    server.accept()
    assert eventually(lambda: line.well)
    assert 1 == len(warnings(caplog))
    assert (server.secret in caplog.text) is False

    server.refuse_handshake(502)
    server.drop_connections(1011)
    assert eventually(lambda: len(warnings(caplog)) == 3)


def test_a_refusal(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Close code 4003 is shown to all with its causes, and not tried again before a minute is over."""
    server.refuse(4003)
    line = make().start()

    assert eventually(lambda: control.sync_state == SyncState.REFUSED)
    assert (SyncError.REQUEST_REFUSED, 4003) == (control.sync_error, control.sync_detail)
    assert 60_000 <= control.sync_retry_at - control.sync_since <= 75_000
    assert not server.wait_for(lambda s: len(s.connections) > 1, timeout=0.3)
    assert "clock" in warnings(caplog)[0]
    assert line.runs


def test_a_refusal_is_shared(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """The next leader does not ask sooner than its predecessor would have."""
    control.sync_state = SyncState.REFUSED
    before = time.time()
    control.sync_retry_at = int(before * 1000) + 500
    line = make().start()

    assert eventually(lambda: line.well)
    assert server.connections[0].accepted_at - before >= 0.4


def test_an_old_refusal_does_not_wait(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually
) -> None:
    """A refusal whose time is over, or that a wrong clock put far away, has an end."""
    control.sync_state, control.sync_retry_at = SyncState.REFUSED, 1
    line = make().start()
    assert eventually(lambda: line.well)

    control.sync_state, control.sync_retry_at = SyncState.REFUSED, 2**62
    assert make().sync._retry_at <= time.monotonic() + 750


def test_too_many_connections(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """A server that names a time is left alone for so long."""
    server.refuse_handshake(429, retry_after=30)
    make().start()

    assert eventually(lambda: control.sync_state == SyncState.INTERRUPTED)
    assert (SyncError.HANDSHAKE, 429) == (control.sync_error, control.sync_detail)
    assert 20_000 < control.sync_retry_at - time.time() * 1000 <= 30_000
    assert not server.wait_for(lambda s: len(s.connections) > 1, timeout=0.3)


def test_a_silent_server(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """A server that accepts and never answers is left after its time; a healthy one is found again."""
    server.stall()
    line = make()
    line.start()
    assert server.wait_for(lambda s: s.connections and s.connections[0].cursors)
    assert eventually(lambda: line.sync._session is not None)
    session = line.sync._session
    assert session is not None
    session._heard -= 100  # as if it had been silent for so long
    line.halt.set()
    line.end()
    line.halt.clear()
    line.start()
    assert eventually(lambda: control.sync_error == SyncError.SILENCE)
    server.stall(False)

    assert eventually(lambda: line.well)


def test_a_good_connection_forgets_bad_times(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually
) -> None:
    """After a connection that lasted, the delays begin anew; after short ones they grow."""
    line = make(first_retry=10.0)
    line.sync._delays = delays(60.0, 60.0)
    line.start()
    assert eventually(lambda: line.well)
    line.sync._opened_at -= 100  # as if it had lasted so long
    server.drop_connections(1011)

    assert eventually(lambda: control.sync_state == SyncState.INTERRUPTED)
    assert 0 < control.sync_retry_at - time.time() * 1000 <= 10_000


# Publishing


def test_no_room_to_publish(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot that cannot be written is shown and written later; the connection stays."""
    line = make()
    line.failing = True
    line.start()
    assert eventually(lambda: control.sync_state == SyncState.INTERRUPTED)
    assert (SyncError.STORAGE, errno.ENOSPC) == (control.sync_error, control.sync_detail)
    assert [] == line.published
    line.failing = False

    assert eventually(lambda: line.well)
    assert [known(server)] == line.published
    assert 1 == len(server.connections)
    assert 1 == len(warnings(caplog))


def test_publishing_again(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """What somebody could not read is published again, with a connection and without one."""
    line = make().start()
    assert eventually(lambda: line.well)
    line.sync.republish()
    assert eventually(lambda: len(line.published) == 2)
    server.stop()
    assert eventually(lambda: not line.well)
    line.sync.republish()
    assert eventually(lambda: len(line.published) == 3)

    assert line.published[0] == line.published[1] == line.published[2]
    assert not line.well


def test_an_unsynced_dataset_is_not_published(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """Nothing is evaluated from a part of an environment."""
    server.stop()
    line = make().start()
    line.sync.republish()

    assert not eventually(lambda: line.published, timeout=0.2)


def test_segments_are_published_too(server: FeatBitServer, make: Make, eventually: Eventually) -> None:
    """A change of a segment alone is a publication."""
    line = make().start()
    assert eventually(lambda: line.well)
    server.update_segment(segment_id("staff"), included=["bob"])

    assert eventually(lambda: len(line.published) == 2)
    assert line.published[0].segments != line.published[1].segments


# Everything again


def test_a_lost_patch_heals(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """Everything is asked for now and then on the same connection: what was never pushed is known in the end."""
    line = make(full_every=0.5).start()
    assert eventually(lambda: line.well)
    first = control.full_at
    server.load({"featureFlags": [flag("dark-mode"), flag("never-pushed", updated_at=1)], "segments": []})

    assert eventually(lambda: {"dark-mode", "never-pushed"} == line.flags)
    assert 1 == len(server.connections)
    assert eventually(lambda: control.full_at > first)


def test_the_time_of_the_last_full_is_shared(
    server: FeatBitServer, make: Make, control: Control, eventually: Eventually
) -> None:
    """A new leader goes on counting where the one before it was: with many leaders a full still comes."""
    control.full_at = int((time.time() - 4000) * 1000)
    line = make(known(server), synced=True, full_every=3000).start()
    assert eventually(lambda: line.well)

    assert [0] == server.connections[0].cursors
    assert control.full_at > (time.time() - 60) * 1000


def test_a_copy_is_replaced(server: FeatBitServer, make: Make, control: Control, eventually: Eventually) -> None:
    """Data of another time is evaluated until the first full, which replaces it whole."""
    control.restored = 1
    old = Dataset.of([item._replace(key="long-gone") for item in known(server).flags.values()])
    line = make(old, synced=True)
    line.sync.republish()
    line.start()
    assert eventually(lambda: line.well)

    assert [0] == server.connections[0].cursors
    assert [old, known(server)] == line.published
    assert 0 == control.restored

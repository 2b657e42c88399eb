"""With a persistence directory a host that comes up while FeatBit is down evaluates what was true before."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from fbshared.shm.control import LAYOUT
from fbshared.status import RegionStatus, read_regions
from fbshared.testing import flag
from fbshared.wiring import member_settings

if TYPE_CHECKING:
    from pathlib import Path

    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

TWO = flag("load", "string", ["one", "two"], serve="two")


def only() -> RegionStatus:
    (status,) = read_regions()
    return status


def reboot(crew: Crew) -> None:
    """All processes are gone, and so is what was in memory."""
    for process in list(crew.processes):
        crew.dismiss(process)
    shutil.rmtree(crew.path)


def test_a_reboot_while_featbit_is_down(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """The last values are there at once, their age and origin are visible, and the first sync replaces them."""
    kept = tmp_path / "kept"
    file = kept / f"{LAYOUT}-{member_settings(crew.config()).digest}.data"
    crew.start(2, persistence_dir=str(kept))
    crew.leader()
    assert crew.until(file.exists, 20)
    server.put_flag(TWO)
    server.put_flag(flag("doomed"))
    assert crew.until(lambda: b"doomed" in file.read_bytes(), 20)
    reboot(crew)
    down = time.time()
    server.stop()
    begun = time.monotonic()
    workers = crew.start(2, persistence_dir=str(kept), start_wait=30)
    took = time.monotonic() - begun

    assert took < 25
    for worker in workers:
        assert {"load": "two", "doomed": True} == worker.ask("all_values")
    assert only().restored
    assert time.time() - down - 1 < (only().data_age_s or 0) < 600
    assert not only().well

    raw = server.flag("load")
    server.load({"featureFlags": [raw | {"disabledVariationId": raw["variations"][0]["id"], "isEnabled": False}]})
    server.start()
    for worker in workers:
        assert "one" == worker.ask("wait_value", "load", "one", 30.0)
        assert {"load": "one"} == worker.ask("all_values")
    assert crew.until(lambda: only().well, 20)
    assert not only().restored
    assert (only().data_age_s or 0) < 30
    assert crew.until(lambda: b"doomed" not in file.read_bytes(), 20)


def test_a_new_leader_of_restored_data(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """A takeover before the first sync does not make the copy look like FeatBit's word."""
    kept = str(tmp_path / "kept")
    crew.one(persistence_dir=kept)
    crew.leader()
    assert crew.until(lambda: list((tmp_path / "kept").glob("*.data")), 20)
    reboot(crew)
    server.stop()
    crew.start(3, persistence_dir=kept)
    (file,) = (tmp_path / "kept").glob("*.data")
    before = file.stat().st_ino
    epoch = only().epoch
    leader = next(process for process in crew.processes if process.pid == only().leader_pid)
    crew.dismiss(leader)

    assert crew.until(lambda: only().published_epoch > epoch, 20)
    assert only().restored
    time.sleep(0.5)  # in which it would be written again, as if it were news
    assert before == file.stat().st_ino
    server.start()
    assert crew.until(lambda: only().well and not only().restored, 30)
    assert 0 in server.connections[-1].cursors


def test_a_damaged_copy(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """A copy that cannot be believed is none: it starts as if there were no such directory."""
    kept = tmp_path / "kept"
    crew.one(persistence_dir=str(kept))
    crew.leader()
    assert crew.until(lambda: list(kept.glob("*.data")), 20)
    reboot(crew)
    server.stop()
    (file,) = kept.glob("*.data")
    file.write_bytes(file.read_bytes()[:-1])
    worker = crew.one(persistence_dir=str(kept), start_wait=0.5)

    assert "default" == worker.ask("value", "load", "someone", "default")
    server.start()
    assert "one" == worker.ask("wait_value", "load", "one", 30.0)

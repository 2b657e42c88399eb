"""Exactly one candidate leads, and one that only seems to lead is stepped over."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from filelock import lock_descriptor

from fbshared.leader.election import Election, Term, lock_name, remove_old_locks
from fbshared.shm.region import Region, process_start

STALE = 10.0


class Clock:
    """A clock that stands still between two calls of ``tick``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float = 0.05) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


Stand = Callable[..., Election]


@pytest.fixture
def stand(region: Region, clock: Clock) -> Iterator[Stand]:
    candidates: list[Election] = []

    def made(gives_way: Callable[[], int] = lambda: 0) -> Election:
        candidates.append(Election(region, STALE, clock, gives_way))
        return candidates[-1]

    yield made
    for candidate in candidates:
        candidate.close()


def elected(candidate: Election) -> Term:
    term = candidate.poll()
    assert term is not None
    return term


def polls_until_elected(candidate: Election, clock: Clock, step: float) -> tuple[int, Term]:
    for count in range(1, 2000):
        clock.tick(step)
        term = candidate.poll()
        if term is not None:
            return count, term
    raise AssertionError("never elected")


def test_exactly_one_leads(region: Region, stand: Stand) -> None:
    """The first candidate leads; the others do not, however often they ask."""
    first, second = stand(), stand()
    term = elected(first)

    assert [None] * 20 == [second.poll() for _ in range(20)]
    assert term.holds()
    assert (1, 1) == (term.epoch, region.control.epoch)
    assert (os.getpid(), process_start(os.getpid())) == (region.control.leader_pid, region.control.leader_start)
    term.close()


def test_a_free_lead_is_left_to_a_better_candidate(stand: Stand) -> None:
    """Whoever gives way asks for the lead as often as it likes, and another one has it at its first look."""
    weak, better = stand(lambda: 6), stand()
    assert [None] * 3 == [weak.poll() for _ in range(3)]
    term = elected(better)

    assert term.holds()
    assert [None] * 20 == [weak.poll() for _ in range(20)]
    term.close()


def test_a_lead_that_nobody_takes_goes_to_any(stand: Stand) -> None:
    """After so many polls the one that gave way leads, and gives way again at the end of the next term."""
    weak, other = stand(lambda: 6), stand()
    answers = [weak.poll() for _ in range(7)]
    assert answers[:6] == [None] * 6
    assert answers[6] is not None
    answers[6].close()
    term = elected(other)
    assert weak.poll() is None
    term.close()

    assert [None] * 6 == [weak.poll() for _ in range(6)]
    elected(weak).close()


def test_a_leader_that_stands_still_is_left_to_a_better_candidate(stand: Stand, clock: Clock) -> None:
    """Stepping past a lock is no different from taking a free one."""
    term = elected(stand())
    weak, better = stand(lambda: 6), stand()
    while clock.now < 1000 + STALE + 1:
        clock.tick(0.25)
        assert weak.poll() is None
        if (taken := better.poll()) is not None:
            break

    assert taken is not None
    assert 2 == taken.epoch
    taken.close()
    term.close()


def test_whoever_gives_way_is_not_asked_while_another_leads(stand: Stand) -> None:
    """It costs nothing as long as there is a leader."""
    asked: list[object] = []
    term, other = elected(stand()), stand(lambda: asked.append(1) or 0)
    for _ in range(20):
        other.poll()

    assert [] == asked
    term.close()


def test_a_lead_given_back_is_taken(stand: Stand) -> None:
    """A released lock is taken at the next look, in the next epoch."""
    term, second = elected(stand()), stand()
    assert second.poll() is None
    term.resign()
    assert not term.holds()
    assert second.poll() is None
    term.close()
    term.close()
    successor = elected(second)

    assert 2 == successor.epoch
    assert (True, False) == (successor.holds(), term.holds())
    successor.close()


def test_giving_back_what_is_another_one_s(region: Region, stand: Stand, clock: Clock) -> None:
    """Who gives back the lead says that nobody leads, and nothing where somebody else does."""
    first = elected(stand())
    second = polls_until_elected(stand(), clock, 0.5)[1]
    first.give_back()
    while_it_leads = region.control.leader_pid
    second.give_back()
    second.give_back()

    assert (os.getpid(), 0) == (while_it_leads, region.control.leader_pid)


def test_a_heartbeat_keeps_the_lead(region: Region, stand: Stand, clock: Clock) -> None:
    """Nobody steps over a leader that shows life, however slowly, before the stale limit."""
    term, second = elected(stand()), stand()
    for number in range(1000):
        clock.tick()
        if number % 190 == 0:
            region.control.beat += 1
        assert second.poll() is None

    term.close()


def test_a_stale_leader_is_stepped_over(region: Region, stand: Stand, clock: Clock) -> None:
    """A held lock does not help a leader without a heartbeat; it leads no more from the new epoch on."""
    term, second = elected(stand()), stand()
    count, successor = polls_until_elected(second, clock, 0.05)

    assert 10.0 <= count * 0.05 <= 10.2
    assert (2, False, True) == (successor.epoch, term.holds(), successor.holds())
    term.close()
    successor.close()


def test_an_awakening_is_one_observation(stand: Stand, clock: Clock) -> None:
    """A container that was frozen for an hour, candidate and leader alike, finds its leader in time."""
    term, second = elected(stand()), stand()
    assert second.poll() is None
    clock.tick(3600)

    assert second.poll() is None
    count, successor = polls_until_elected(second, clock, 3600)
    assert count >= STALE / 0.5 - 2
    term.close()
    successor.close()


def test_all_step_over_and_one_leads(region: Region, stand: Stand, clock: Clock) -> None:
    """Of many candidates that lose their patience at the same moment one leads."""
    term, candidates = elected(stand()), [stand() for _ in range(5)]
    terms: list[Term] = []
    while not terms:
        clock.tick()
        terms = [found for candidate in candidates if (found := candidate.poll()) is not None]

    assert 1 == len(terms)
    assert [None] * 5 == [candidate.poll() for candidate in candidates]
    assert (2, 2) == (terms[0].epoch, region.control.epoch)
    term.close()
    terms[0].close()


def test_a_candidate_that_stopped_on_the_step(region: Region, stand: Stand, clock: Clock) -> None:
    """Whoever holds the next epoch's lock without writing its number is stepped over too, one epoch further."""
    term, second = elected(stand()), stand()
    fd = os.open(region.join(lock_name(2)), os.O_RDWR | os.O_CREAT, 0o600)
    assert lock_descriptor(fd, blocking=False)
    count, successor = polls_until_elected(second, clock, 0.05)

    assert 3 == successor.epoch
    assert 20.0 <= count * 0.05 <= 20.2
    os.close(fd)
    term.close()
    successor.close()


def test_a_dead_leader_whose_lock_lives_on(region: Region, stand: Stand, clock: Clock) -> None:
    """Its process is gone while a child that was forked in C keeps its lock: less than half a second is enough."""
    term, second = elected(stand()), stand()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    region.control.leader_pid = child
    count, successor = polls_until_elected(second, clock, 0.1)

    assert 0.3 <= count * 0.1 <= 0.5
    assert 2 == successor.epoch
    term.close()
    successor.close()


def test_a_leader_that_cannot_be_seen(region: Region, stand: Stand, clock: Clock) -> None:
    """In another PID namespace a leader's number means nothing here: there is only the heartbeat."""
    term, second = elected(stand()), stand()
    region.control.leader_start = 1
    region.control.leader_namespace += 1
    count, successor = polls_until_elected(second, clock, 0.05)

    assert count * 0.05 >= STALE
    term.close()
    successor.close()


def test_an_unknown_leader_process(region: Region, stand: Stand, clock: Clock) -> None:
    """Without a process number there is only the heartbeat."""
    term, second = elected(stand()), stand()
    region.control.leader_pid = 0
    count, successor = polls_until_elected(second, clock, 0.05)

    assert count * 0.05 >= STALE
    term.close()
    successor.close()


def test_an_epoch_turned_back_is_repaired(region: Region, stand: Stand) -> None:
    """A superseded candidate may write its number late; the leader puts its own back and leads on."""
    elected(stand()).close()
    term = elected(stand())
    region.control.epoch = 1

    assert term.holds()
    assert 2 == region.control.epoch
    term.close()


def test_somebody_is_faster(region: Region, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the step another one may have led and ended: then there is nothing to take."""
    second = stand()
    real = lock_descriptor

    def slow(fd: int, *, blocking: bool) -> bool:
        region.control.epoch = 7
        return real(fd, blocking=blocking)

    monkeypatch.setattr("fbshared.leader.election.lock_descriptor", slow)

    assert second.poll() is None
    assert 7 == region.control.epoch


def test_a_removed_lock_file_is_noticed(region: Region, stand: Stand) -> None:
    """A leader whose lock file has no name any more does not lead alone: the next candidate takes another file."""
    term = elected(stand())
    assert term.lock_intact()
    os.unlink(region.join(lock_name(1)))

    assert not term.lock_intact()
    other = elected(stand())
    assert (2, False) == (other.epoch, term.holds())
    term.close()
    other.close()


def test_a_lock_file_is_kept_open(region: Region, stand: Stand) -> None:
    """A waiting candidate keeps one descriptor, and notices another file under the name."""
    term, second = elected(stand()), stand()
    second.poll()
    before = len(os.listdir("/proc/self/fd"))
    assert [None] * 9 == [second.poll() for _ in range(9)]
    assert before == len(os.listdir("/proc/self/fd"))
    os.unlink(region.join(lock_name(1)))

    successor = elected(second)
    assert 2 == successor.epoch
    term.close()
    successor.close()


def test_a_removed_directory(region: Region, stand: Stand) -> None:
    """It is an error of the system, and the next look is one again."""
    candidate = stand()
    shutil.rmtree(region.path)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            candidate.poll()


def test_failing_to_step_up(region: Region, stand: Stand) -> None:
    """A candidate that cannot open the next lock leaves the present one to others."""
    first, second = stand(), stand()
    os.mkdir(region.join(lock_name(1)))
    with pytest.raises(IsADirectoryError):
        first.poll()
    os.rmdir(region.join(lock_name(1)))

    term = elected(second)
    assert 1 == term.epoch
    term.close()


def test_old_locks_are_removed(region: Region) -> None:
    """The locks of the epoch and of the one before stay: candidates may be at them."""
    for number in (1, 2, 7, 8, 9):
        os.close(os.open(region.join(lock_name(number)), os.O_CREAT | os.O_RDWR))
    os.close(os.open(region.join("leader.x.lock"), os.O_CREAT | os.O_RDWR))
    remove_old_locks(region, 8)

    assert {"leader.7.lock", "leader.8.lock", "leader.9.lock", "leader.x.lock"} == set(region.names("leader."))

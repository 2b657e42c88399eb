"""What uWSGI is to a member, as far as it can be seen without uWSGI; ``tests/processes/test_uwsgi.py`` runs it."""

import ctypes
import subprocess
import sys
from types import ModuleType

import pytest

from fbshared import uwsgi

FORKS = """
import ctypes, os, sys, types
sys.modules["uwsgi"] = types.ModuleType("uwsgi")
from fbshared import uwsgi

seen = []
uwsgi.around_forks_in_c(lambda: seen.append("before"), lambda: seen.append("after"))
for fork in ctypes.PyDLL(None).fork, ctypes.CDLL(None).fork, os.fork:
    pid = fork()
    if pid == 0:
        os._exit(len(seen) % 2)
    seen.append(os.waitpid(pid, 0)[1] >> 8)
print(*seen)
"""


def host(**attributes: object) -> ModuleType:
    module = ModuleType("uwsgi")
    vars(module).update(attributes)
    return module


def test_elsewhere_threads_run_and_nothing_is_asked_of_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without uWSGI is no business of this module."""
    monkeypatch.setattr(ctypes, "CDLL", None)
    uwsgi.around_forks_in_c(lambda: None, lambda: None)

    assert "" == uwsgi.why_no_threads()
    assert not uwsgi.before_the_forks()


@pytest.mark.parametrize(
    ("has", "version", "worker", "expected"),
    [
        (1, (2, 0, 30, 0, b""), 0, ""),
        (1, (2, 0, 26, 0, b""), 1, ""),
        (1, (2, 0, 26, 0, b""), 0, "before 2.0.27"),
        (0, (2, 0, 26, 0, b""), 1, "--enable-threads"),
    ],
)
def test_where_threads_run(
    monkeypatch: pytest.MonkeyPatch, has: int, version: tuple[object, ...], worker: int, expected: str
) -> None:
    """uWSGI says whether they do; in the process that old ones fork from they must not."""
    module = host(has_threads=has, version_info=version, worker_id=lambda: worker, mule_id=lambda: 0)
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    found = uwsgi.why_no_threads()

    assert expected in found
    assert bool(expected) is bool(found)


@pytest.mark.parametrize(("worker", "mule", "expected"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_before_the_forks(monkeypatch: pytest.MonkeyPatch, worker: int, mule: int, *, expected: bool) -> None:
    """Workers and mules have been forked already."""
    module = host(worker_id=lambda: worker, mule_id=lambda: mule)
    monkeypatch.setitem(sys.modules, "uwsgi", module)

    assert expected is uwsgi.before_the_forks()


def test_every_fork_is_announced() -> None:
    """Forks in C, with the interpreter's lock and without, and forks in Python."""
    done = subprocess.run([sys.executable, "-c", FORKS], check=True, stdout=subprocess.PIPE, timeout=30)

    assert b"before after 1 before after 0 before after 1\n" == done.stdout

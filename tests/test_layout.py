"""The house keeps its habits: what style and packaging promise about every file."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fbshared"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def files_with_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def test_no_module_is_longer_than_one_thought() -> None:
    """No module has more than 400 lines."""
    long = [str(path) for path in modules() if len(path.read_text().splitlines()) > 400]

    assert [] == long


def test_every_module_says_what_it_is() -> None:
    """Every module has a docstring."""
    silent = [str(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]

    assert [] == silent


def test_every_test_says_what_must_be_true() -> None:
    """Every test has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{test.lineno} {test.name}"
        for path in files_with_tests()
        for test in functions_of(path)
        if not ast.get_docstring(test)
    ]

    assert [] == silent


@pytest.mark.parametrize("layer", ["core", "shm"])
def test_the_tests_mirror_the_package(layer: str) -> None:
    """Every module of the lower layers has a test file of its own name."""
    names = {path.stem for path in (PACKAGE / layer).glob("*.py")} - {"__init__"}

    assert set() == {n for n in names if not (ROOT / "tests" / layer / f"test_{n}.py").exists()}


def test_types_are_shipped() -> None:
    """The package carries the marker that tells type checkers to read it."""
    assert (PACKAGE / "py.typed").exists()


def test_public_names_exist_and_are_sorted() -> None:
    """Every name in ``__all__`` is there, in order."""
    import fbshared

    assert sorted(fbshared.__all__) == list(fbshared.__all__)
    assert [] == [name for name in fbshared.__all__ if not hasattr(fbshared, name)]


def test_importing_has_no_effect() -> None:
    """Importing starts no thread, opens no file, and touches neither logging nor signal handlers."""
    code = """
import gc, logging, os, signal, threading
def state():
    handlers = [signal.getsignal(s) for s in sorted(signal.valid_signals())]
    files = len(os.listdir("/proc/self/fd"))
    return threading.active_count(), files, logging.root.handlers, gc.get_threshold(), handlers
import websocket, requests, msgpack, filelock
before = state()
import fbshared
assert before == state(), (before, state())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stderr)


LATER = {"aiohttp", "gunicorn", "requests", "websocket", "filelock", "hashlib", "tempfile", "ctypes", "pathlib"}


def test_an_application_pays_for_nothing_before_it_needs_it() -> None:
    """Importing the package imports neither the local server's libraries nor the leader's, and of the standard library
    nothing large that an evaluation can do without."""
    code = f"import sys; before = set(sys.modules); import fbshared; print((set(sys.modules) - before) & {LATER})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert "set()\n" == done.stdout


def test_importing_needs_only_what_the_package_asks_for() -> None:
    """Importing the package imports no other distribution's modules than its requirements' and theirs."""
    code = """
import sys
before = set(sys.modules)
import fbshared, fbshared.status, fbshared.agent
imported = set(sys.modules) - before
from importlib.metadata import packages_distributions, requires
import re
names = {name.partition(".")[0] for name in imported}
found = {each.lower() for name in names for each in packages_distributions().get(name, [])}
def closure(name, seen):
    if name not in seen:
        seen.add(name)
        for line in requires(name) or []:
            if "extra ==" not in line:
                try:
                    closure(re.match(r"[A-Za-z0-9._-]+", line)[0].lower(), seen)
                except ModuleNotFoundError:
                    pass  # not needed on this platform
    return seen
allowed = closure("fbshared", set())
print(sorted(name for name in found if name.replace("_", "-") not in {a.replace("_", "-") for a in allowed}))
"""
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^python3 -m venv .*$", text, re.MULTILINE)


def test_the_readme_has_two_commands_of_one_line() -> None:
    """One README line runs the demo and another one the tests, each with its own set-up."""
    demo, tests = readme_commands()

    assert demo.endswith("fbshared demo")
    assert tests.endswith("-m pytest -n 4")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("fbclient", ["Config", "FBClient", "get", "set_config", "start_wait"]),
        ("fbclient.client", ["FBClient"]),
        ("fbclient.config", ["Config", "HTTPConfig", "WebSocketConfig"]),
        ("fbclient.common_types", ["AllFlagStates", "EvalDetail", "FBUser"]),
    ],
)
def test_the_reference_s_import_paths(module: str, names: list[str]) -> None:
    """Who changes ``fbclient`` into ``fbshared`` in an import finds what was there."""
    theirs = pytest.importorskip(module)
    ours = importlib.import_module(module.replace("fbclient", "fbshared"))

    assert [] == [name for name in names if not hasattr(theirs, name) or not hasattr(ours, name)]

"""The command line as a user types it, in processes of its own."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fbshared
from fbshared import Config, FBClient
from fbshared.cli import describe
from fbshared.shm.region import Region
from fbshared.status import read_regions
from fbshared.testing import FeatBitServer, bootstrap, flag, sample_environment

APPLICATION = """
import sys, fbshared
config = fbshared.Config(*sys.argv[1:4])
with fbshared.FBClient(config, start_wait=10) as client:
    print(client.initialize, flush=True)
    sys.stdin.read()
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fbshared", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@contextmanager
def application(server: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a client, from when it is ready until its input ends."""
    command = [sys.executable, "-c", APPLICATION, server.secret, server.event_url, server.streaming_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "True\n" == process.stdout.readline()
        yield process


def test_the_version_is_the_packages() -> None:
    """``--version`` tells what is installed."""
    assert f"fbshared {fbshared.__version__}\n" == run("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["serve"], "required: FILE"),
        (["serve", "/nowhere/flags.json"], "No such file"),
        (["serve", __file__], "is not JSON"),
        (["serve", __file__, "--port", "70000"], "70000 is not a port"),
        (["demo", "--data", "/nowhere/flags.json"], "No such file"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(arguments: list[str], message: str) -> None:
    """A mistake of the user gives exit code 2 and one line, no traceback."""
    done = run(*arguments)

    assert 2 == done.returncode
    assert re.fullmatch(rf"fbshared: .*{message}.*\n", done.stderr)


def test_a_missing_extra_is_named() -> None:
    """Without aiohttp the message says what to install."""
    code = "import sys; sys.modules['aiohttp'] = None; from fbshared.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (2, "fbshared: aiohttp missing: pip install 'fbshared[demo]'\n") == (done.returncode, done.stderr)


def test_status_without_a_region() -> None:
    """Where nobody uses fbshared, status says so with exit code 3."""
    done = run("status")

    assert (3, "No region") == (done.returncode, done.stdout[:9])
    assert (3, []) == ((done := run("status", "--json")).returncode, json.loads(done.stdout))


def test_status_of_a_living_region() -> None:
    """Leader, data and members of a running application are shown, for people and for programs."""
    with FeatBitServer(sample_environment()) as server, application(server) as process:
        people, programs = run("status"), run("status", "--json")
        process.communicate(timeout=10)
    (region,) = json.loads(programs.stdout)

    assert (0, 0) == (people.returncode, programs.returncode), people.stdout
    assert f"process {process.pid}" in people.stdout
    assert re.search(r"^sync +ok$", people.stdout, re.MULTILINE)
    assert (process.pid, True, "ok") == (region["leader_pid"], region["leader_alive"], region["sync_state"])
    assert server.secret not in people.stdout + programs.stdout


def test_status_names_members_with_other_settings(shared_directory: Path) -> None:
    """In words, with their process numbers; and nothing is said where all are equal."""
    region = Region(str(shared_directory), "digest")
    region.new_ring(2).file.close()
    (status,) = read_regions()
    text = describe(replace(status, differing=(7, 8)))
    region.close()

    assert "differing 7, 8: " in text
    assert "differing" not in describe(status)
    assert "unknown" in text


def test_status_after_the_leader_was_killed() -> None:
    """A region whose only process is dead gives exit code 1 and says that the leader is dead."""
    with FeatBitServer(sample_environment()) as server, application(server) as process:
        process.kill()
        process.wait(10)
        done = run("status")

    assert 1 == done.returncode
    assert f"process {process.pid}, dead" in done.stdout
    assert re.search(r"^why +no process leads", done.stdout, re.MULTILINE)


def test_serve_runs_a_server_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """A client can use the printed addresses; the connection gets its lines; SIGTERM ends it with 0."""
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(sample_environment()))
    command = [sys.executable, "-m", "fbshared", "serve", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        values = dict(line.split() for line in lines[1:4])
        with application(_Address(values)) as app:
            connected = process.stdout.readline()
            app.communicate(timeout=10)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert connected.startswith("connection 1 from fbshared")
    assert "connection 1 ended" in rest
    assert 0 == process.returncode


def test_serve_pushes_what_changes_in_its_file(tmp_path: Path) -> None:
    """Each changed item is pushed alone, a missing one as archived; a broken file is said once and changes nothing."""
    file = tmp_path / "flags.json"

    def save(*flags: Any) -> None:
        fresh = tmp_path / "new"
        fresh.write_text(json.dumps(bootstrap([flag("beta"), *flags])))
        fresh.replace(file)

    def said() -> str:
        """The next line about the file; others tell of connections and events."""
        assert process.stdout is not None
        return next((line for line in process.stdout if line.startswith("flags.json")), "")

    save(flag("new"), flag("old"))
    command = [sys.executable, "-m", "fbshared", "serve", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        address = _Address(dict(line.split() for line in lines[1:4]))
        with FBClient(Config(address.secret, address.event_url, address.streaming_url), start_wait=10) as client:
            before = [client.variation(key, {"key": "a", "name": "A"}) for key in ("beta", "new", "old")]
            save(flag("new", serve=False))
            pushed = {said() for _ in range(2)}
            deadline = time.monotonic() + 10
            while client.is_flag_known("old") and time.monotonic() < deadline:
                time.sleep(0.01)
            after = [client.variation(key, {"key": "a", "name": "A"}, "none") for key in ("beta", "new", "old")]
            file.write_text("{")
            complaint = said()
            save(flag("new"))
            repaired = said()
        process.terminate()
        rest = process.stdout.read()

    assert [True, True, True] == before
    assert {"flags.json: flag new changed\n", "flags.json: flag old changed\n"} == pushed
    assert [True, False, "none"] == after
    assert complaint.startswith("flags.json is not used, the former data stays: ")
    assert "flags.json: flag new changed\n" == repaired
    assert "not used" not in rest
    assert 0 == process.returncode


class _Address:
    """The three values that a client is configured with, as ``serve`` printed them."""

    def __init__(self, values: dict[str, str]) -> None:
        self.secret = values["env_secret"]
        self.event_url = values["event_url"]
        self.streaming_url = values["streaming_url"]


def test_the_readme_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    """The program on the README's first screen is the example, and its output is the real one."""
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text()
    program = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    output = re.findall(r"this prints\n\n```\n(.*?)```", readme, re.DOTALL)[0]
    secret = re.findall(r'SECRET = "(.*)"', program)[0]
    example = (root / "examples" / "hello.py").read_text()
    with FeatBitServer(root / "examples" / "flags.json", secret=secret) as server:
        code = program.replace("127.0.0.1:5100", f"127.0.0.1:{server.port}")
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
        server.wait_for(lambda s: s.event_count == 3)
        connections, events = len(server.connections), server.event_count

    assert program in example
    assert (0, "", output) == (done.returncode, done.stderr, done.stdout)
    assert (1, 3) == (connections, events)


def test_status_tells_where_the_data_is_from(shared_directory: Path) -> None:
    """A persisted copy is called one, with its age, and so is polling; a usual connection is not spoken of."""
    region = Region(str(shared_directory), "digest")
    (status,) = read_regions()
    region.close()
    text = describe(replace(status, restored=True, data_age_s=86_400.0, transport="polling"))
    usual = describe(replace(status, data_age_s=1.0, transport="streaming"))

    assert "a persisted copy, confirmed 86400.0 s ago" in text
    assert "starting, polling\n" in text
    assert "persisted" not in usual
    assert "starting\n" in usual

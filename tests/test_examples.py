"""Each example is started with the command of its docstring, against a local FeatBit server."""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fbshared.status import read_regions
from fbshared.testing import FeatBitServer

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = sysconfig.get_path("scripts")
ADDRESS = re.compile(r"--host \S+ --port 8000|(?:127\.0\.0\.1|0\.0\.0\.0):8000")


def need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def commands_of(name: str) -> list[str]:
    """The commands that an example's docstring gives."""
    return re.findall(r"^    (\S.*)$", (EXAMPLES / name).read_text().split('"""')[1], re.MULTILINE)


def until(condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(EXAMPLES / "flags.json") as running:
        yield running


class Stage:
    """Where the commands run: the settings of the local server in the environment, and a log for each."""

    NAMES = ("FBSHARED_ENV_SECRET", "FBSHARED_EVENT_URL", "FBSHARED_STREAMING_URL")

    def __init__(self, server: FeatBitServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.http = str(directory / "http.socket")
        values = server.secret, server.event_url, server.streaming_url
        self.settings = dict(zip(self.NAMES, values, strict=True))
        self.environment = os.environ | self.settings
        self.environment["PATH"] = os.pathsep.join([SCRIPTS, os.environ["PATH"]])
        self.environment["TMPDIR"] = self.environment["HOME"] = str(directory)
        self.log = directory / "log"

    @contextlib.contextmanager
    def running(self, command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command in a process group of its own, on a socket of this test where it names an address."""
        command = ADDRESS.sub(lambda found: self._address(found[0], command), command)
        with self.log.open("ab") as log:
            popen = subprocess.Popen(
                shlex.split(command),
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=ROOT,
            )
        try:
            yield popen
        except BaseException:
            print(self.log.read_text())
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()

    def ends(self, popen: subprocess.Popen[bytes]) -> int:
        """The exit code after SIGTERM."""
        popen.terminate()
        return popen.wait(20)

    def get(self, path: str) -> str:
        """The answer to a request; empty while nobody answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            try:
                connection.connect(self.http)
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            except OSError:
                return ""
        head, _, body = answer.decode().partition("\r\n\r\n")
        return body if " 200 " in head.partition("\r\n")[0] else answer.decode()

    def seen(self) -> list[str]:
        """The users of the evaluations that the server knows of."""
        return sorted(event.user["keyId"] for event in self.server.events if event.kind == "variation")

    def _address(self, found: str, command: str) -> str:
        if found.startswith("--host"):
            return f"--uds {self.http}"
        return self.http if command.startswith("uwsgi") else f"unix:{self.http}"


@pytest.fixture
def stage(server: FeatBitServer, tmp_path: Path) -> Stage:
    return Stage(server, tmp_path)


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("flask_app.py", ["flask", "gunicorn"]),
        ("django_app.py", ["django", "gunicorn"]),
        ("fastapi_app.py", ["fastapi", "uvicorn"]),
        ("wsgi_app.py", ["pyuwsgi"]),
    ],
)
def test_a_web_application_answers_with_the_flag(stage: Stage, name: str, modules: list[str]) -> None:
    """What the docstring says: the flag's value, one connection for all workers, one event; and it ends cleanly."""
    need(*modules)
    serve, curl = commands_of(name)
    with stage.running(serve) as popen:
        answer = until(lambda: stage.get("/anna"), 30)
        delivered = stage.server.wait_for(lambda s: s.event_count == 1, 15)
        connections = len(stage.server.connections)
        code = stage.ends(popen)

    assert "curl http://127.0.0.1:8000/anna" == curl
    assert "Welcome back, anna!\n" == answer
    assert delivered
    assert ["anna"] == stage.seen()
    assert 1 == connections
    assert 0 == code, stage.log.read_text()
    assert "Traceback" not in stage.log.read_text()


def test_an_agent_that_uwsgi_starts_leads(stage: Stage) -> None:
    """The application never leads, the agent does, and both end with uWSGI."""
    need("pyuwsgi")
    serve, _ = commands_of("follower_app.py")
    with stage.running(serve) as popen:
        answer = until(lambda: "Welcome" in (text := stage.get("/anna")) and text, 30)
        delivered = stage.server.wait_for(lambda s: s.event_count >= 1, 15)
        leader = read_regions()[0].leader_pid
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in (popen.pid, leader)]
        code = stage.ends(popen)
        gone = until(lambda: not Path(f"/proc/{leader}").exists(), 5)

    assert "Welcome back, anna!\n" == answer
    assert delivered
    assert ["uwsgi" in commands[0][1].decode(), b"agent" in commands[1]] == [True, True]
    assert 1 == len(stage.server.connections)
    assert 0 == code
    assert gone


def test_celery_runs_the_task(stage: Stage) -> None:
    """The program prints the task's result; worker, its children and the program share one connection."""
    need("celery")
    worker, call = commands_of("celery_app.py")
    with stage.running(worker) as popen:
        leads = stage.server.wait_for(lambda s: s.open_connections == 1, 30)
        done = subprocess.run(
            shlex.split(call), env=stage.environment, cwd=ROOT, capture_output=True, text=True, timeout=40
        )
        delivered = stage.server.wait_for(lambda s: s.event_count == 1, 15)
        code = stage.ends(popen)

    assert leads
    assert (0, "Welcome back, anna!\n", "") == (done.returncode, done.stdout, done.stderr)
    assert delivered
    assert ["anna"] == stage.seen()
    assert 0 == code, stage.log.read_text()
    assert 1 == len(stage.server.connections)


def test_a_pool_of_multiprocessing(stage: Stage) -> None:
    """Its output is what the docstring says; its events are delivered although its processes are gone."""
    (command,) = commands_of("pool.py")
    done = subprocess.run(
        shlex.split(command), env=stage.environment, cwd=ROOT, capture_output=True, text=True, timeout=40
    )
    delivered = stage.server.wait_for(lambda s: s.event_count == 3, 5)

    assert (0, "Hello, carl!\nWelcome back, anna!\nWelcome back, ben!\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
    assert delivered
    assert ["anna", "ben", "carl"] == stage.seen()
    assert 1 == len(stage.server.connections)


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's names have capitals
    parser.read_string((EXAMPLES / "fbshared-agent.service").read_text())
    return parser


def test_the_systemd_unit_starts_an_agent_that_says_when_it_is_ready(stage: Stage) -> None:
    """Its command, with what its EnvironmentFile holds, tells the service manager, and ends on SIGTERM with 0."""
    service = unit()["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    address = str(stage.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        with stage.running(shlex.join([Path(program).name, *arguments]), NOTIFY_SOCKET=address) as popen:
            told = manager.recv(100)
            code = stage.ends(popen)

    assert "notify" == service["Type"]
    assert b"READY=1" == told
    assert 0 == code


def test_systemd_understands_the_unit(stage: Stage) -> None:
    """systemd-analyze has no complaint."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = stage.directory / "fbshared-agent.service"
    program = unit()["Service"]["ExecStart"].split()[0]
    path.write_text((EXAMPLES / path.name).read_text().replace(program, f"{SCRIPTS}/fbshared"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=30
    )

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


def test_the_settings_of_the_local_server_are_those_of_the_examples(stage: Stage) -> None:
    """local.env names the three settings that examples read, and the first page's secret."""
    lines = [line for line in (EXAMPLES / "local.env").read_text().splitlines() if not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)

    assert stage.settings.keys() == values.keys()
    assert f'"{values["FBSHARED_ENV_SECRET"]}"' in (EXAMPLES / "hello.py").read_text()


def compose() -> tuple[str, str, Mapping[str, str]]:
    """Commands of agent and application, and the variables that both get."""
    import yaml

    services = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
    agent, web = services["agent"], services["web"]
    for same in ("image", "user", "environment", "volumes"):
        assert agent[same] == web[same]
    target = agent["volumes"][0].split(":")[1]
    assert target == agent["environment"]["FBSHARED_DIR"]
    return agent["command"], web["command"], agent["environment"]


def kubernetes() -> tuple[str, str, Mapping[str, str]]:
    """The same of the pod; its secret holds the other three variables."""
    import yaml

    pod = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]
    agent, web = pod["initContainers"][0], pod["containers"][0]
    for same in ("image", "env", "envFrom", "volumeMounts"):
        assert agent[same] == web[same]
    (variable,), (mount,), (volume,) = agent["env"], agent["volumeMounts"], pod["volumes"]
    assert (mount["mountPath"], mount["name"]) == (variable["value"], volume["name"])
    assert "Memory" == volume["emptyDir"]["medium"]
    variables = {variable["name"]: variable["value"], **dict.fromkeys(Stage.NAMES)}
    return shlex.join(agent["command"]), shlex.join(web["command"]), variables


@pytest.mark.parametrize("description", [compose, kubernetes])
def test_an_agent_beside_the_application(
    stage: Stage, shared_directory: Path, description: Callable[[], tuple[str, str, Mapping[str, str]]]
) -> None:
    """Its two commands work together over the directory that they share, and the application opens no connection."""
    need("yaml", "gunicorn")
    agent, web, variables = description()
    shared = {"FBSHARED_DIR": str(shared_directory)}
    with stage.running(agent, **shared) as leading, stage.running(web, PYTHONPATH=str(EXAMPLES), **shared) as serving:
        answer = until(lambda: "Welcome" in (text := stage.get("/anna")) and text, 30)
        # A worker that gunicorn tells to end before it has begun does not hear it.
        until(lambda: stage.log.read_text().count("Booting worker") == 2, 30)
        stage.ends(serving)
        code = stage.ends(leading)

    assert {"FBSHARED_DIR", *stage.settings} == variables.keys()
    assert "Welcome back, anna!\n" == answer
    assert "anna" in stage.seen(), "the agent delivers what the application left"
    assert 1 == len(stage.server.connections)
    assert 0 == code

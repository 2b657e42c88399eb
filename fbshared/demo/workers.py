"""The gunicorn of the demo: its own process group, its own shared directory, nothing left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from fbshared.testing import FeatBitServer

WORKERS = 4
THREADS = 8  # of each worker; enough for all connections to one
STALE_LIMIT = 3.0  # seconds; the library's own 10 are long to look at
SETTINGS = "control_socket_disable = True\n"  # else newer versions write into the home directory


class Workers:
    """gunicorn with ``--preload`` on the small app, listening on a free loopback port."""

    def __init__(self, server: FeatBitServer) -> None:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="fbshared-demo-", dir=memory))
        self._log = self.directory / "gunicorn.log"
        (self.directory / "settings.py").write_text(SETTINGS)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                self._command(listener.fileno()),
                env=self._environment(server),
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _command(self, listener: int) -> list[str]:
        return [
            sys.executable, "-m", "gunicorn", "--preload", f"--workers={WORKERS}",
            "--worker-class=gthread", f"--threads={THREADS}", "--keep-alive=30", f"--bind=fd://{listener}",
            f"--config={self.directory / 'settings.py'}", f"--log-file={self._log}", "fbshared.demo.app",
        ]  # fmt: skip

    def _environment(self, server: FeatBitServer) -> dict[str, str]:
        return {
            **os.environ,
            "FBSHARED_DIR": str(self.directory),
            "FBSHARED_DEMO_SECRET": server.secret,
            "FBSHARED_DEMO_EVENT_URL": server.event_url,
            "FBSHARED_DEMO_STREAMING_URL": server.streaming_url,
            "FBSHARED_DEMO_STALE_LIMIT": str(STALE_LIMIT),
        }

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def master(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """What gunicorn and the app had to say, for when things went wrong."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> bool:
        """End all processes and remove the directory; whether they went when they were asked to."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        left = self._signal(signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        return not left

    def _signal(self, number: signal.Signals) -> bool:
        """Reach the whole group, so that no worker outlives its master; whether there was anybody."""
        try:
            if number == signal.SIGTERM:
                self._process.send_signal(signal.SIGCONT)  # in case that it is frozen
                self._process.terminate()  # the workers' own way down is through the master
            else:
                os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True

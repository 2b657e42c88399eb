"""Celery's prefork pool, with a folder as its broker, so that it runs without another service.

With the settings and the local server of ``examples/README.md``, the worker in one terminal and the call in another::

    celery --workdir examples --app celery_app worker --concurrency 2
    python examples/celery_app.py anna

prints ``Welcome back, anna!``. The local server shows one connection and one event. The worker's parent makes the
client and leads; its children, recycled ones too, evaluate. The program that calls the task is one more process of the
same environment and opens no second connection.
"""

import sys
from pathlib import Path
from tempfile import gettempdir

from celery import Celery

from fbshared import Config, FBClient

client = FBClient(Config.from_env())

folder = Path(gettempdir(), "fbshared-example-queue")
folder.mkdir(exist_ok=True)
folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(folder))
app = Celery("celery_app", broker="filesystem://", backend=f"file://{folder}", broker_transport_options=folders)


@app.task(name="greet")
def greet(name):
    """Greet a user by what the flag says."""
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    return f"{greeting}, {name}!"


if __name__ == "__main__":
    print(greet.delay(sys.argv[1]).get(timeout=20))

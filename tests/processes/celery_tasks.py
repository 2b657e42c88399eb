"""An application of Celery as any other: makes its client at import; a task is a command of ``worker.py``."""

import json
import os
from typing import Any

from celery import Celery
from worker import COMMANDS, Here, client_of

Here.settings = json.loads(os.environ["FBSHARED_TEST_SETTINGS"])
Here.client = client_of(Here.settings)
COMMANDS["value"]("load", "import")  # so that workers which are forked inherit a flag that is in use

directory = os.environ["FBSHARED_TEST_QUEUE"]
folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), directory)
app = Celery("celery_tasks", broker="filesystem://", backend=f"file://{directory}", broker_transport_options=folders)


@app.task(name="run")
def run(name: str, arguments: list[Any]) -> Any:
    """Which process answers, and what."""
    return os.getpid(), COMMANDS[name](*arguments)

"""A web application as any other: makes its client at import, and knows nothing of processes and forks.

A request's body is a command of ``worker.py``; the answer is the process that gave it, and the result.
"""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from worker import COMMANDS, Here, client_of

Here.settings = json.loads(os.environ["FBSHARED_TEST_SETTINGS"])
Here.client = client_of(Here.settings)
if "hinder" in Here.settings:
    assert COMMANDS["in_the_middle"]()
COMMANDS["value"]("load", "import")  # so that workers which are forked inherit a flag that is in use


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Run one command."""
    name, arguments = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps([os.getpid(), COMMANDS[name](*arguments)]).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

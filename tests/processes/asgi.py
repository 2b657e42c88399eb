"""The web application of ``wsgi.py`` for servers that speak ASGI."""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from worker import COMMANDS, Here, client_of

Here.settings = json.loads(os.environ["FBSHARED_TEST_SETTINGS"])
Here.client = client_of(Here.settings)
COMMANDS["value"]("load", "import")  # so that workers which are forked inherit a flag that is in use


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Run one command."""
    if scope["type"] != "http":
        return
    content = b""
    more = True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    name, arguments = json.loads(content)
    body = json.dumps([os.getpid(), COMMANDS[name](*arguments)]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})

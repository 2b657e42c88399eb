"""FastAPI on uvicorn.

With the settings and the local server of ``examples/README.md``::

    uvicorn --app-dir examples --workers 2 --host 127.0.0.1 --port 8000 fastapi_app:app
    curl http://127.0.0.1:8000/anna

answers ``Welcome back, anna!``. The local server shows one connection, however many workers there are, and an event for
each request. One of the workers leads. An evaluation waits for nothing, so it may stand in an ``async`` function.
"""

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from fbshared import Config, FBClient

client = FBClient(Config.from_env())
app = FastAPI()


@app.get("/{name}", response_class=PlainTextResponse)
async def greet(name: str) -> str:
    """Greet a user by what the flag says."""
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    return f"{greeting}, {name}!\n"

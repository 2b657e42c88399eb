"""Flask on gunicorn.

With the settings and the local server of ``examples/README.md``::

    gunicorn --chdir examples --workers 2 --bind 127.0.0.1:8000 flask_app:app
    curl http://127.0.0.1:8000/anna

answers ``Welcome back, anna!``. The local server shows one connection, however many workers there are, and an event for
each request. One of the workers leads; with ``--preload`` the master does, and a worker needs no start of its own.
"""

from flask import Flask

from fbshared import Config, FBClient

client = FBClient(Config.from_env())
app = Flask(__name__)


@app.get("/<name>")
def greet(name):
    """Greet a user by what the flag says."""
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    return f"{greeting}, {name}!\n"

"""A plain WSGI application that evaluates a flag; no line of it knows about workers or forks.

Beside ``fbshared serve examples/flags.json --port 5100 --secret ...``::

    gunicorn --preload --workers 4 --chdir examples wsgi_app
"""

from fbshared import Config, FBClient

SECRET = "cttm-oFEnEq94XLQ5EWE1gz0A-n4mULUS9wW7rQN9fCg"
client = FBClient(Config(SECRET, event_url="http://127.0.0.1:5100", streaming_url="ws://127.0.0.1:5100"))


def application(environ, start_response):
    """Greet a user by what the flag says."""
    name = environ["PATH_INFO"].strip("/") or "somebody"
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{greeting}, {name}!\n".encode()]

"""A plain WSGI application, on uWSGI or any other server; no line of it knows about workers or forks.

With the settings and the local server of ``examples/README.md``::

    uwsgi --http-socket 127.0.0.1:8000 examples/uwsgi.ini
    curl http://127.0.0.1:8000/anna

answers ``Welcome back, anna!``. The local server shows one connection, however many workers there are, and an event for
each request. The master makes the client and leads; when it stands still, a worker takes over.
"""

from fbshared import Config, FBClient

client = FBClient(Config.from_env())


def application(request, start_response):
    """Greet a user by what the flag says."""
    name = request["PATH_INFO"].strip("/") or "somebody"
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{greeting}, {name}!\n".encode()]

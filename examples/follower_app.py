"""An application that never leads, beside an agent that does nothing else.

On uWSGI, which starts the agent itself; with the settings and the local server of ``examples/README.md``::

    uwsgi --http-socket 127.0.0.1:8000 examples/uwsgi-agent.ini
    curl http://127.0.0.1:8000/anna

answers ``Welcome back, anna!``. The local server shows one connection, the agent's; ``fbshared status`` names it as the
leader. The client does not wait for data (``start_wait=0``), because uWSGI starts the agent after it has loaded this:
a request in the first moments gets the default.
"""

from fbshared import Config, FBClient

client = FBClient(Config.from_env(role="follower"), start_wait=0)


def application(request, start_response):
    """Greet a user by what the flag says."""
    name = request["PATH_INFO"].strip("/") or "somebody"
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{greeting}, {name}!\n".encode()]

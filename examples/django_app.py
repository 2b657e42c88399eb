"""Django on gunicorn: settings, URLs and application in one file; in a project of yours the client has a module.

With the settings and the local server of ``examples/README.md``::

    gunicorn --chdir examples --workers 2 --bind 127.0.0.1:8000 django_app
    curl http://127.0.0.1:8000/anna

answers ``Welcome back, anna!``. The local server shows one connection, however many workers there are, and an event for
each request. ``python examples/django_app.py runserver`` works too: it has two processes, and still one connection.
"""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from fbshared import Config, FBClient

client = FBClient(Config.from_env())


def greet(request, name):
    """Greet a user by what the flag says."""
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    return HttpResponse(f"{greeting}, {name}!\n", content_type="text/plain; charset=utf-8")


urlpatterns = [path("<name>", greet)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"], DEBUG=__name__ == "__main__")
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)

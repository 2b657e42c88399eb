"""A pool of multiprocessing; the same for every start method, for ProcessPoolExecutor and for a script run by cron.

With the settings and the local server of ``examples/README.md``::

    python examples/pool.py

prints ``Hello, carl!``, ``Welcome back, anna!`` and ``Welcome back, ben!``. The local server shows one connection and
three events. When a web server with the same settings runs beside it, its connection is used and no other is made.
"""

from multiprocessing import Pool

from fbshared import Config, FBClient

client = FBClient(Config.from_env())


def greet(name):
    """Greet a user by what the flag says."""
    greeting = client.variation("greeting", {"key": name, "name": name}, default="Hi")
    return f"{greeting}, {name}!"


if __name__ == "__main__":
    with Pool(3) as pool:
        print(*sorted(pool.map(greet, ["anna", "ben", "carl"])), sep="\n")
    client.stop()

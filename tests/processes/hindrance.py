"""An import that takes long, or fails: as on a busy machine, or in a broken installation."""

import importlib.abc
import importlib.machinery
import sys
import threading
import time
from typing import Any


class Hindrance(importlib.abc.MetaPathFinder):
    """Stands in the way of one module: not of finding it, for which Python has a lock that forks wait for anyway.

    Attributes:
        begun: somebody has begun to import it, and holds the lock that Python has for each module.
        over: that import may go on.
    """

    begun, over = threading.Event(), threading.Event()

    def __init__(self, module: str, seconds: float, failures: int) -> None:
        self._module = module
        self._seconds = seconds
        self._failures = failures

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        run = spec.loader.exec_module

        def hindered(module: Any) -> None:
            self._hinder()
            run(module)

        spec.loader.exec_module = hindered
        return spec

    def _hinder(self) -> None:
        self.begun.set()
        time.sleep(self._seconds)
        self.over.set()
        self._failures -= 1
        if self._failures >= 0:
            raise ImportError(f"{self._module} is broken")


def put_in_the_way(module: str, seconds: float = 0.0, failures: int = 0, limit: float = 5.0) -> None:
    """Hinder from now on; ``limit`` seconds are what a fork waits for an import."""
    from fbshared import gates

    gates.IMPORT_LIMIT = limit
    sys.meta_path.insert(0, Hindrance(module, seconds, failures))

"""``worker.py`` as a program of gevent: everything is patched before anything else is imported."""

from gevent import monkey

monkey.patch_all()

import runpy  # noqa: E402
from pathlib import Path  # noqa: E402

runpy.run_path(str(Path(__file__).with_name("worker.py")), run_name="__main__")

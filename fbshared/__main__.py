"""The command ``fbshared``, also as ``python -m fbshared``."""

import sys

from fbshared.cli import main

if __name__ == "__main__":
    sys.exit(main())

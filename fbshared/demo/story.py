"""What the demo tells on the terminal: plain sentences with a clock, and whether each promise was kept."""

import sys
import time


class Story:
    """Prints as it goes and remembers what was broken."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def chapter(self, title: str) -> None:
        """A new step begins."""
        self._print(f"\n[{self.seconds:4.1f} s] {title}")

    def says(self, text: str) -> None:
        """A fact that is no promise."""
        self._print(f"         {text}")

    def promise(self, kept: bool, text: str) -> None:
        """A fact that somebody relies on."""
        self._print(f"  {'ok' if kept else 'BROKEN':>6} {text}")
        if not kept:
            self.broken.append(text)

    def end(self) -> int:
        """The last line and the exit code."""
        if self.broken:
            self._print(f"\n{len(self.broken)} promise(s) broken after {self.seconds:.1f} s:")
            for text in self.broken:
                self._print(f"  {text}")
            return 1
        self._print(f"\nAll promises kept, in {self.seconds:.1f} s.")
        return 0

    def _print(self, text: str) -> None:
        print(text, file=sys.stdout, flush=True)

"""How the local server misbehaves at the moment."""

from collections import deque
from dataclasses import dataclass, field

REASONS = {
    4003: "invalid request, close by server",
    1011: "service unavailable, close by server",
}


@dataclass(slots=True)
class Faults:
    """All off by default; written by the test's thread, read by the server's.

    An insight status of None cuts the connection instead of answering; with a 2xx a post is judged by what it
    contains.
    """

    close_code: int | None = None
    handshake_status: int | None = None
    handshake_retry_after: float | None = None
    latest_status: int | None = None
    latest_text: str | None = None
    latest_retry_after: float | None = None
    stalled: bool = False
    muted: bool = False
    insight_statuses: deque[int | None] = field(default_factory=deque)
    insight_status: int | None = 200
    insight_retry_after: float | None = None
    insight_delay: float = 0.0
    clock_offset: float = 0.0

    def next_insight_status(self) -> int | None:
        """The status of the next post, which uses it up."""
        return self.insight_statuses.popleft() if self.insight_statuses else self.insight_status

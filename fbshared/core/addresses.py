"""Where FeatBit is asked, and with what: URLs, the token of a connection, and the environment of a secret."""

from __future__ import annotations

import base64
import re
import struct
from urllib.parse import quote

_LETTERS = str.maketrans("0123456789", "QBWSPHDXZU")
_SECRET = re.compile(r"[A-Za-z0-9_-]{44}")


def token(secret: str, now_ms: int, fraction: float) -> str:
    """The token of one connection attempt: the secret with the time put into it where a fraction says.

    It is reversible, so a URL with a token is a credential, and it expires within seconds.
    """
    text = secret.rstrip("=")
    place = max(int(fraction * len(text)), 2)
    time = str(now_ms)
    head = _letters(place, 3) + _letters(len(time), 2)
    return head + text[:place] + time.translate(_LETTERS) + text[place:]


def environment_id(secret: str) -> str | None:
    """The environment that a secret of FeatBit's form belongs to, None for another form.

    The second half of a secret is the id, its first three fields with the low byte first.
    """
    text = secret.rstrip("=")
    if not _SECRET.fullmatch(text):
        return None
    first, second, third, rest = struct.unpack("<IHH8s", base64.urlsafe_b64decode(text[22:] + "=="))
    return f"{first:08x}-{second:04x}-{third:04x}-{rest[:2].hex()}-{rest[2:].hex()}"


def streaming_url(base: str, token: str) -> str:
    """Where a server SDK connects; a path in front of it stays."""
    return f"{base.rstrip('/')}/streaming?token={quote(token, safe='')}&type=server"


def insight_url(base: str) -> str:
    """Where events are posted."""
    return f"{base.rstrip('/')}/api/public/insight/track"


def latest_url(base: str) -> str:
    """Where all data can be had by HTTP."""
    return f"{base.rstrip('/')}/api/public/sdk/server/latest-all"


def _letters(number: int, width: int) -> str:
    return str(number).zfill(width)[-width:].translate(_LETTERS)

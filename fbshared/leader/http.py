"""What every HTTP request to FeatBit has in common."""

from __future__ import annotations

import re
import warnings

import requests
from urllib3.exceptions import InsecureRequestWarning

from fbshared.leader.settings import HTTPSettings

__all__ = ["PROXY_LOGIN", "open_session", "proxy_status", "retry_after"]

PROXY_LOGIN = 407  # says the proxy and nobody else
_LONGEST_WAIT = 300.0


def open_session(settings: HTTPSettings) -> requests.Session:
    """A session whose requests carry the secret and go the configured way."""

    def authorised(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Not a plain header: an entry for the host in the user's netrc file would replace it.
        request.headers["Authorization"] = settings.secret
        return request

    if settings.verify is False:
        # Said in the log, once. urllib3 says it for each request, and where warnings are errors none would arrive.
        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    session = requests.Session()
    session.headers.update({"User-Agent": settings.user_agent, **settings.headers})
    session.auth = authorised
    return session


def proxy_status(error: Exception) -> int:
    """The HTTP status of a proxy that makes no tunnel, as requests or websocket-client tell it; 0 of other errors."""
    found = re.search(r"(?:CONNECT via proxy status|Tunnel connection failed): (\d{3})\b", str(error))
    return int(found[1]) if found else 0


def retry_after(value: str | None) -> float:
    """The seconds that a server asked for, at most five minutes; 0 where it asked for none."""
    return min(float(value), _LONGEST_WAIT) if value and value.strip().isdecimal() else 0.0

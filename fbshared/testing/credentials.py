"""Secrets and tokens as the server reads them: independent of the client's own code, which it judges."""

import base64
import re
import uuid
from typing import NamedTuple

_LETTERS = "QBWSPHDXZU"
_DIGIT = {letter: str(digit) for digit, letter in enumerate(_LETTERS)}
_SECRET = re.compile(r"[A-Za-z0-9_-]{44}")
_INT64 = 2**63


class Token(NamedTuple):
    """A decoded token: the secret it carries and its time in Unix milliseconds."""

    secret: str
    timestamp: int


def make_secret(environment_id: str | None = None) -> str:
    """A well-formed secret of the given environment, of a new random one by default."""
    environment = uuid.UUID(environment_id) if environment_id else uuid.uuid4()
    return _short(uuid.uuid4()) + _short(environment)


def environment_of(secret: str) -> str:
    """The id of the environment that a secret belongs to; ValueError when the secret is malformed.

    It is the second half: sixteen bytes in base64url without padding, in .NET's mixed-endian layout.
    """
    if not _SECRET.fullmatch(secret):
        raise ValueError("a secret consists of 44 base64url characters")
    return str(uuid.UUID(bytes_le=base64.urlsafe_b64decode(secret[22:] + "==")))


def decode_token(token: str) -> Token:
    """The secret and the time in a token; ValueError when the server would not decode it."""
    if len(token) < 5:
        raise ValueError("a token has at least five characters")
    position, length, rest = _number(token[:3]), _number(token[3:5]), token[5:]
    if position > 255:
        raise ValueError("the position of the timestamp does not fit into a byte")
    if len(rest) < position + length:
        raise ValueError("the token ends before its timestamp does")
    timestamp = _number(rest[position : position + length])
    if timestamp >= _INT64:
        raise ValueError("the timestamp does not fit into 64 bits")
    secret = rest[:position] + rest[position + length :]
    secret += "=" * (-len(secret) % 4)
    environment_of(secret)
    return Token(secret, timestamp)


def _number(letters: str) -> int:
    try:
        return int("".join(_DIGIT[letter] for letter in letters))
    except KeyError as error:
        raise ValueError(f"{error} is not a letter of a token number") from None


def _short(value: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(value.bytes_le).decode().rstrip("=")

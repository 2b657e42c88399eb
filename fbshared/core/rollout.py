"""A text's place on the line that percentage rollouts divide."""

from __future__ import annotations

from math import ceil
from struct import Struct

from fbshared.core.hashes import md5

__all__ = ["END", "first_integer", "mark", "place"]

END = 2**31  # the place of 1.0, which two texts in 2**32 reach

first_integer = Struct("<i").unpack_from


def place(text: str) -> int:
    """Where a text lies, from 0 to END inclusive; the reference's percentage is exactly this divided by END.

    Raises:
        UnicodeEncodeError: the text has a lone surrogate and therefore no place.
    """
    number: int = first_integer(md5(text.encode()).digest())[0]
    return abs(number)


def mark(bound: float) -> int:
    """The smallest place not below a bound that is a fraction: 0 for what is less, END + 1 for what is more.

    A power of two only moves the exponent, so comparing a place with a mark is comparing the floats.
    """
    return ceil(min(max(bound * END, 0), END + 1))

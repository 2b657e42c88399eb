"""Aligned 8-byte words in a shared buffer, in the machine's byte order.

A word is loaded and stored through ``memoryview.cast("Q")``: one aligned machine access. ``struct.pack_into`` is
no substitute: it clears the bytes first, and concurrent readers see zeros.
"""

from __future__ import annotations

import mmap
from typing import overload

__all__ = ["WORD", "Buffer", "Word", "WordPage", "words_of"]

WORD = 8
LARGEST = 2**64 - 1

Buffer = bytes | bytearray | memoryview | mmap.mmap


def words_of(buffer: Buffer, size: int) -> memoryview:
    """The first ``size`` bytes of a page-aligned buffer as unsigned 8-byte words."""
    return memoryview(buffer)[:size].cast("Q")


class WordPage:
    """A shared page whose words have names; see ``Word``."""

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words


class Word:
    """One named word of a ``WordPage``: reading is one load, assigning one store."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    @overload
    def __get__(self, page: None, owner: type[WordPage]) -> Word: ...
    @overload
    def __get__(self, page: WordPage, owner: type[WordPage]) -> int: ...
    def __get__(self, page: WordPage | None, owner: type[WordPage]) -> int | Word:
        if page is None:
            return self
        word: int = page.words[self.index]
        return word

    def __set__(self, page: WordPage, value: int) -> None:
        page.words[self.index] = min(max(value, 0), LARGEST)

"""Named words of a page."""

from fbshared.shm.words import LARGEST, Word, WordPage, words_of


class Page(WordPage):
    __slots__ = ()
    third = Word(2)


def test_a_word_has_a_name() -> None:
    """Reading a name reads the word, assigning stores it, and nothing else changes."""
    buffer = bytearray(32)
    page = Page(words_of(buffer, 32))
    page.third = 0x0102
    page.third += 1

    assert 0x0103 == page.third
    assert [0, 0, 0x0103, 0] == list(page.words)
    assert 2 == Page.third.index


def test_a_word_has_bounds() -> None:
    """What does not fit in is the nearest that does: showing a figure must not stop a leader."""
    page = Page(words_of(bytearray(24), 24))
    page.third = -1
    assert 0 == page.third

    page.third = 2**70
    assert LARGEST == page.third


def test_only_the_page_is_words() -> None:
    """A buffer that is longer than its page lends no more than the page."""
    assert 2 == len(words_of(memoryview(bytearray(100)), 16))

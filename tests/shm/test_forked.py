"""A process notices that it was forked."""

import os

from fbshared.shm.forked import ForkCell


def test_the_cell_is_empty_in_every_descendant() -> None:
    """It is 1 where it was made and 0 in a child and a grandchild, where it can be filled anew."""
    cell = ForkCell()
    child = os.fork()
    if child == 0:
        seen = cell.words[0]
        cell.words[0] = 1
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(cell.words[0])
        os._exit(seen + os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 1 == cell.words[0]

"""What only a leader works with, and the libraries that this needs: no candidate imports them.

Who is elected does, when its epoch is written: the others see a new leader then, and give its heartbeat time. Before
that, everybody who finds the lead free would import, and but one of them lead. The forks of other threads wait
meanwhile: a child that was forked in the middle of an import would wait for ever for the same module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fbshared.gates import importing

if TYPE_CHECKING:
    from fbshared.leader.delivery import Delivery
    from fbshared.leader.leadership import Leadership

__all__ = ["delivery", "leadership"]


def leadership() -> type[Leadership]:
    """What leads.

    Raises:
        ImportError: it cannot be imported, for whatever reason.
    """
    with _importing():
        from fbshared.leader.leadership import Leadership
    return Leadership


def delivery() -> type[Delivery]:
    """What delivers.

    Raises:
        ImportError: it cannot be imported, for whatever reason.
    """
    with _importing():
        from fbshared.leader.delivery import Delivery
    return Delivery


@contextmanager
def _importing() -> Iterator[None]:
    try:
        with importing():
            yield
    except ImportError:
        raise
    except Exception as error:  # of other people's modules, or because the interpreter ends
        raise ImportError(f"{type(error).__name__}: {error}") from error

"""Whose turn it is at a target: while what came of one batch is recorded, the next one is called.

The calls of a target are made batch after batch. Recording takes longer than a fast target's calls,
and no call has to wait for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_pass_on: ContextVar[Callable[[], None] | None] = ContextVar("pass_on", default=None)


@contextmanager
def taken(pass_on: Callable[[], None] | None) -> Iterator[None]:
    """Have `pass_on` called once the batch that is worked on meanwhile needs its target no more."""
    token = _pass_on.set(pass_on)
    try:
        yield
    finally:
        _pass_on.reset(token)


def called() -> None:
    """Say that all calls of this batch are made; what is left is to record what came of them."""
    if pass_on := _pass_on.get():
        pass_on()

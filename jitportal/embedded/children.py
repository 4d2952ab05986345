"""Child processes that end when we end, even when we are killed with SIGKILL."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def dies_with_us(sign: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send `sign` to the child when the parent is gone.

    None where that can't be promised: off Linux, and off the main thread, since the kernel takes
    the end of the thread that forked for the end of the parent. Whoever starts next cleans up
    then.
    """
    libc = _libc
    if libc is None or threading.current_thread() is not threading.main_thread():
        return None
    number = int(sign)

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)

    return ask_kernel

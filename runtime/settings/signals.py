"""Keeps handlers of signals where Ray would change them, and sets when child processes are killed."""

import ctypes
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
"""From Linux' ``sys/prctl.h``."""


@contextmanager
def kept_sigterm() -> Generator[None]:
    """Install the handler of SIGTERM once more after the block.

    Ray sets one of its own when a main thread joins it. When any thread leaves it, the system's default is
    set, so that the program would end without its ``finally`` blocks. Only the main thread can set handlers;
    in another one this does nothing.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def ignored_hangup() -> Generator[None]:
    """Have the processes that are started in the block ignore SIGHUP, for good.

    A terminal that is closed sends it to all of them. Only the one that started them acts on it, and ends
    the others in their order. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGHUP, handler)


def end_with_parent() -> None:
    """Have this process killed as soon as the one that started it has ended, however that ended.

    Ray's processes look for the end of their node's and then exit by themselves, which one that hangs on its
    way out, or in a library's code, never comes to: it would go on to hold memory, ports and shards. To be
    called in a thread that lasts. Does nothing but on Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

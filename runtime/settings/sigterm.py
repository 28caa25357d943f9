"""Keeps the caller's handler of SIGTERM, which Ray takes."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager


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

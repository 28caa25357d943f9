"""Looks at a cluster again and again while a Populace runs in it."""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
END_SECONDS_MAX = 30.0


@contextmanager
def watched(what: str, look: Callable[[], None]) -> Generator[None]:
    """Call ``look`` at once and every two seconds in a thread of its own, during the block.

    What it raises is logged as ``what`` not being known: Ray or Serve is away for now, and is asked again.
    """
    is_over = threading.Event()

    def follow() -> None:
        while True:
            try:
                look()
            except Exception as error:
                logger.warning("%s are not known: %s", what, type(error).__name__)
            if is_over.wait(LOOK_SECONDS):
                return

    thread = threading.Thread(target=follow, name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(END_SECONDS_MAX)

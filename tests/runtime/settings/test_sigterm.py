"""A program's own handler of SIGTERM is there again after something else has taken it."""

import os
import signal
from types import FrameType

from populace.settings.sigterm import kept_sigterm


def test_a_handler_that_is_taken_in_the_block_is_there_again_after_it() -> None:
    heard: list[str] = []

    def own(number: int, frame: FrameType | None) -> None:
        del number, frame
        heard.append("own")

    def other(number: int, frame: FrameType | None) -> None:
        del number, frame
        heard.append("other")

    before = signal.signal(signal.SIGTERM, own)
    try:
        with kept_sigterm():
            signal.signal(signal.SIGTERM, other)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert heard == ["own"]

"""A program's own handlers of signals are there again, and its children inherit what is wanted."""

import os
import signal
import subprocess
import sys
from types import FrameType

from populace.settings.signals import ignored_hangup, kept_sigterm


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


def test_a_process_that_is_started_in_the_block_outlives_a_closed_terminal() -> None:
    before = signal.getsignal(signal.SIGHUP)
    program = "print('here', flush=True); input()"
    with ignored_hangup():
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert signal.getsignal(signal.SIGHUP) == before
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGHUP)
    child.communicate("\n")
    assert child.returncode == 0

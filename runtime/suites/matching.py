"""Matches replies against regular expressions of people in a process of its own, with little time for each.

The time that a pattern takes may double with each character of a reply, and Python runs nothing else
meanwhile. A program: reads what ``PatternTime`` asks as JSON from standard input, and writes what came of it.
"""

import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from populace.policies.reply_checks import matches_whole
from populace.settings.environment import process_environment

SECONDS_EACH = 0.2
"""The processor time of one match. Most take some microseconds; one that takes longer does not match."""

SECONDS_JOB = 60.0
"""The processor time of all matches of one training."""

SECONDS_MAX = 600


class PatternsTooSlow(Exception):
    """The processor time of the patterns is spent."""


class PatternTime:
    """The processor time that the patterns of one training, or of one check, may still take together."""

    def __init__(self, seconds_max: float = SECONDS_JOB) -> None:
        self.seconds_max = seconds_max
        self._left = seconds_max

    def matched(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Say for each pattern and reply whether the whole reply matches in time. Blocks.

        One process does them all. Raises ``PatternsTooSlow``, and ``ValueError`` for what is no pattern.
        """
        if not pairs:
            return []
        try:
            done = subprocess.run(
                [sys.executable, "-m", "populace.suites.matching"],
                input=json.dumps({"pairs": pairs, "seconds": self._left}),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=SECONDS_MAX,
                env=process_environment(),
            )
        except subprocess.TimeoutExpired:
            raise PatternsTooSlow from None
        told = json.loads(done.stdout)
        if told["problem"] is not None:
            raise ValueError(told["problem"])
        self._left = max(0.0, self._left - told["seconds"])
        if len(told["matches"]) < len(pairs):
            raise PatternsTooSlow
        return told["matches"]


def matched(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Match as ``PatternTime``, with ``SECONDS_EACH`` for each of the pairs."""
    return PatternTime(math.inf).matched(pairs)


def _matches_in_time(pattern: str, reply: str) -> bool:
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_EACH)
        try:
            return matches_whole(reply, pattern)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except TimeoutError:
        return False


def _end_match(number: int, frame: object) -> None:
    del number, frame
    raise TimeoutError


def _answer(pairs: Sequence[tuple[str, str]], seconds: float) -> dict[str, object]:
    """Match until the time is spent; ``matches`` ends there."""
    began = time.process_time()
    matches: list[bool] = []
    for pattern, reply in pairs:
        if time.process_time() - began >= seconds:
            break
        try:
            matches.append(_matches_in_time(pattern, reply))
        except (re.error, OverflowError, RecursionError) as error:
            return {"problem": f"{pattern[:80]!r} is no regular expression: {error}"}
    return {"problem": None, "matches": matches, "seconds": time.process_time() - began}


def main() -> None:
    signal.signal(signal.SIGVTALRM, _end_match)
    asked = json.loads(sys.stdin.read())
    json.dump(_answer(asked["pairs"], asked["seconds"]), sys.stdout)


if __name__ == "__main__":
    main()

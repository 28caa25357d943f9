"""Matches replies against regular expressions of people in a process of its own, with little time for each.

The time that a pattern takes may double with each character of a reply, and Python runs nothing else
meanwhile. A program: reads ``[[pattern, reply], …]`` as JSON from standard input, writes a list of booleans.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence

from populace.policies.reply_checks import matches_whole
from populace.settings.environment import process_environment

SECONDS_EACH = 0.2
"""The processor time of one match. Most take some microseconds; one that takes longer does not match."""

SECONDS_MAX = 600


def matched(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Say for each pattern and reply whether the whole reply matches in time. Blocks."""
    if not pairs:
        return []
    done = subprocess.run(
        [sys.executable, "-m", "populace.suites.matching"],
        input=json.dumps(pairs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=SECONDS_MAX,
        env=process_environment(),
    )
    return json.loads(done.stdout)


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


def main() -> None:
    signal.signal(signal.SIGVTALRM, _end_match)
    pairs = json.loads(sys.stdin.read())
    json.dump([_matches_in_time(pattern, reply) for pattern, reply in pairs], sys.stdout)


if __name__ == "__main__":
    main()

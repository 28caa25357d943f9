"""Decides which of a model's interactions are never trained on, so that its revisions can be judged by them.

One of every ``EVERY`` consecutive positions is held out, by a fixed function of the position alone: it is the
same one after an export, a fork or a restart, and however long the log has become.
"""

from hashlib import blake2b

EVERY = 8
"""One in this many is held out: two of the sixteen interactions after which a model is trained first."""


def is_held_out(position: int) -> bool:
    """Whether the interaction at this position of a log is used for judging and not for training."""
    block, place = divmod(position, EVERY)
    return place == blake2b(b"hold-out %d" % block, digest_size=8).digest()[0] % EVERY


def count_with_held_out(least: int) -> int:
    """Return of how many positions, from 0 on, ``least`` are held out and at least one is not."""
    count = held_out = 0
    while held_out < least or held_out == count:
        held_out += is_held_out(count)
        count += 1
    return count


def held_out_lines(count: int, least: int) -> frozenset[int]:
    """Return which lines of a file, numbered from 1, judge what the others teach: at least ``least``.

    A short file, in which fewer positions than that are held out, has its last other lines held out too.
    """
    lines = range(1, count + 1)
    held_out = [line for line in lines if is_held_out(line)]
    others = [line for line in lines if not is_held_out(line)]
    missing = max(0, least - len(held_out))
    return frozenset(held_out + others[max(0, len(others) - missing) :])

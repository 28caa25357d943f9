"""Decides how much of a personal model's log is kept, and from which position on.

::

    [0, start)         dropped before
    [start, keep_from) dropped now: beyond a hard bound, or old, trained on and not among the newest
    [keep_from, position) kept

The hard bounds take precedence over age and training, so that no log grows without end. The caller
leaves out interactions that must stay regardless of the bounds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class LogLimits:
    """The bounds of one model's log.

    Interactions are kept for ``seconds_kept`` of served time, see ``policies/served_time.py``, and the
    ``interactions_min`` newest for longer. More than ``interactions_max`` of them or more than
    ``bytes_max`` are never kept.
    """

    interactions_min: int = 64
    seconds_kept: float = 30 * 24 * 3600.0
    interactions_max: int = 10_000
    bytes_max: int = 64 * 2**20


class LogExtent(NamedTuple):
    """A log that holds ``bytes_kept`` of interactions at ``[start, position)``.

    Training still needs those from ``untrained_from`` on; None for a model that is not trained.
    """

    start: int
    position: int
    bytes_kept: int
    untrained_from: int | None


class InteractionSize(NamedTuple):
    """One interaction for the policy: when it was made, in served time, and its bytes on disk."""

    made_ms: int
    bytes_kept: int


def keep_from(log: LogExtent, oldest: Iterable[InteractionSize], limits: LogLimits, now_ms: int) -> int:
    """Return the first position to keep, from ``log.start`` to as far as ``oldest`` reaches.

    ``oldest`` yields the interactions from ``log.start`` on; at most one more is taken from it than is
    dropped.
    """
    old_ms = now_ms - limits.seconds_kept * 1000
    trained = log.position if log.untrained_from is None else log.untrained_from
    droppable_until = min(trained, log.position - limits.interactions_min)
    position, bytes_kept = log.start, log.bytes_kept
    for interaction in oldest:
        is_over = log.position - position > limits.interactions_max or bytes_kept > limits.bytes_max
        is_old = interaction.made_ms <= old_ms and position < droppable_until
        if not is_over and not is_old:
            break
        position += 1
        bytes_kept -= interaction.bytes_kept
    return position

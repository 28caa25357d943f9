"""Decides when a personal model is trained, which moves the newer part of its log into its weights.

It is not trained after every turn: a step costs as much as many replies, and people who are talking need the
machine.
"""

from dataclasses import dataclass
from typing import NamedTuple

BUDGET_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class ConsolidationRule:
    """Train an idle model after ``interactions_min`` new interactions, or ``judged_min`` with feedback.

    At least one new interaction must have feedback, or there is nothing to learn; and so must
    ``held_out_min`` held-out ones, old or new, or the candidate could not be judged. It can be judged by a
    new correction as well, which it has to say. Without any feedback a model is trained once
    ``asked_again_min`` things are asked for again and again that it did not learn yet.

    ``idle_seconds_min`` is the time since the model's last turn; with ``interactions_late`` new interactions
    it is no longer required. ``tokens_max`` bounds what one model is trained on in ``BUDGET_SECONDS``.
    """

    interactions_min: int = 16
    judged_min: int = 4
    held_out_min: int = 2
    asked_again_min: int = 4
    interactions_late: int = 256
    idle_seconds_min: float = 60.0
    tokens_max: int = 200_000


class Standing(NamedTuple):
    """The state of a model that the rule decides by.

    ``untrained`` counts its interactions after the cursor, ``judged`` those of them with feedback that are
    learned, ``corrected`` those of them with a correction, ``held_out`` all interactions with other feedback
    that are held out. ``tokens_spent`` is what it was trained on within
    ``BUDGET_SECONDS``. ``failed_at`` is the log position of the newest training if that failed or its
    candidate was rejected, else None. ``asked_again`` counts what is asked for again and again and was not
    yet at the cursor, see ``policies/asked_again.py``.
    """

    position: int
    untrained: int
    judged: int
    held_out: int
    idle_seconds: float
    tokens_spent: int
    failed_at: int | None = None
    corrected: int = 0
    asked_again: int = 0


class Consolidation(NamedTuple):
    """Whether to train now, with the reason in words for people.

    ``waits``: it becomes due with time alone, without another turn or feedback.
    """

    due: bool
    reason: str
    waits: bool = False


def consolidation(standing: Standing, rule: ConsolidationRule) -> Consolidation:
    """Decide for one model."""
    missing = None if standing.asked_again >= rule.asked_again_min else _missing_feedback(standing, rule)
    if missing is not None:
        return Consolidation(False, missing)
    since_failure = None if standing.failed_at is None else standing.position - standing.failed_at
    if since_failure is not None and since_failure < rule.interactions_min:
        # The same log would only produce the same candidate.
        return Consolidation(False, f"{since_failure} interactions since a candidate that was not taken")
    if standing.tokens_spent >= rule.tokens_max:
        return Consolidation(False, f"its budget of {rule.tokens_max} tokens is spent", waits=True)
    is_late = standing.untrained >= rule.interactions_late
    if standing.idle_seconds < rule.idle_seconds_min and not is_late:
        reason = f"it talked {standing.idle_seconds:.0f} s ago, not {rule.idle_seconds_min:.0f}"
        return Consolidation(False, reason, waits=True)
    asked = f", {standing.asked_again} things asked for again" if standing.asked_again else ""
    return Consolidation(
        True, f"{standing.untrained} new interactions, {standing.judged} with feedback{asked}"
    )


def _missing_feedback(standing: Standing, rule: ConsolidationRule) -> str | None:
    """Say what feedback is missing for a training, None if there is enough of it."""
    if standing.judged == 0:
        return (
            f"nobody said what to think of its new replies, and {standing.asked_again} things were asked for "
            f"again of {rule.asked_again_min}"
        )
    if standing.untrained < rule.interactions_min and standing.judged < rule.judged_min:
        return (
            f"{standing.untrained} new interactions of {rule.interactions_min}, "
            f"{standing.judged} with feedback of {rule.judged_min}"
        )
    if standing.held_out < rule.held_out_min and not standing.corrected:
        return f"{standing.held_out} held-out replies with feedback to judge it by, of {rule.held_out_min}"
    return None


def training_order(waiting: dict[str, Standing]) -> list[str]:
    """Order models by most new interactions, then by longest idle time, then by name."""

    def urgency(name: str) -> tuple[int, float, str]:
        standing = waiting[name]
        return -standing.untrained, -standing.idle_seconds, name

    return sorted(waiting, key=urgency)

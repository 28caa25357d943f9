"""The life of one activation of a personal model, on one screen.

The identity is not here: it exists from create to erase, whether active or not.
"""

from enum import Enum


class Phase(Enum):
    """The phases of an activation."""

    ACTIVE = "active"
    """Turns are granted in the order of arrival."""

    DRAINING = "draining"
    """No new turn is accepted; the running one may still commit."""

    GONE = "gone"
    """Passivated, erased or lost with its shard. Every call raises; a new activation may exist."""


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.ACTIVE: frozenset({Phase.DRAINING, Phase.GONE}),
    Phase.DRAINING: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}


class Lifecycle:
    """Holds the phase and refuses a transition that the table does not name."""

    def __init__(self) -> None:
        self.phase = Phase.ACTIVE

    def move(self, to: Phase) -> None:
        assert to in TRANSITIONS[self.phase], f"{self.phase} -> {to}"
        self.phase = to

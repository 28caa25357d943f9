"""Chooses which of many trainings go on: those of each tenant as often as those of any other.

A trainer has room for some trainings at once and takes their steps together, which is faster than one after
the other. So those that have had more than others wait only once they are ahead by ``slack``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from populace.policies.fair_shares import FairShares

Work = TypeVar("Work")


def chosen(waiting: Sequence[tuple[str, Work]], places: int) -> list[Work]:
    """Choose from tenants' work, given in the order in which it came, what is done first.

    Each tenant's first piece comes before any one's second.
    """
    pieces: Counter[str] = Counter()
    numbered: list[tuple[int, Work]] = []
    for tenant, work in waiting:
        numbered.append((pieces[tenant], work))
        pieces[tenant] += 1
    return [work for _, work in sorted(numbered, key=lambda piece: piece[0])[:places]]


class TrainingShares:
    """The time that each tenant's trainings took of a trainer, while they are in training together."""

    def __init__(self, *, slack_s: float) -> None:
        self._slack_s = slack_s
        self._shares: FairShares[str] = FairShares()
        self._training: frozenset[str] = frozenset()

    def train(self, tenants: Iterable[str]) -> None:
        """From now on trainings of these tenants are in training, and of no others."""
        before, self._training = self._training, frozenset(tenants)
        for tenant in self._training - before:
            self._shares.begin(tenant)
        for tenant in before - self._training:
            self._shares.end(tenant)

    def charge(self, tenant: str, seconds: float) -> None:
        """Note that a tenant's trainings took this much time more."""
        self._shares.charge(tenant, seconds)

    def due(self, tenants: Iterable[str]) -> frozenset[str]:
        """Return whose trainings take the next step, of tenants with trainings that have more to take."""
        had = {tenant: self._shares.precedence(tenant)[0] for tenant in tenants}
        least = min(had.values(), default=0.0)
        return frozenset(tenant for tenant, seconds in had.items() if seconds <= least + self._slack_s)

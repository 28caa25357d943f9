"""Chooses whose turn it is where several share one resource: the one that had least of it so far.

Each of those who share has a counter of what they were served. One that begins to ask for something starts
at the least of those who are asking: what it did not ask for in the past gives it no claim, and what it had
too much of is not forgotten while others ask. While two of them always have something to ask for, what they
are served differs by no more than twice the largest piece, whatever a third one does. This is the Virtual
Token Counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024). It differs from a
deficit round robin in that a piece's size need not be known when it is begun: a reply is charged as it grows.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)


class FairShares(Generic[Who]):
    """The counters of those who ask for something now, and of others who are ahead of these."""

    def __init__(self) -> None:
        self._served: dict[Who, float] = {}
        self._asking: Counter[Who] = Counter()
        self._last: dict[Who, int] = {}
        self._charges = 0

    def begin(self, who: Who) -> None:
        """``who`` asks for one more thing, until ``end``."""
        if who not in self._asking:
            least = min((self._served[other] for other in self._asking), default=0.0)
            self._served[who] = max(self._served.get(who, 0.0), least)
        self._asking[who] += 1

    def end(self, who: Who) -> None:
        """``who`` asks for one thing less."""
        self._asking[who] -= 1
        if not self._asking[who]:
            del self._asking[who]
            self._last.pop(who, None)
            least = min((self._served[other] for other in self._asking), default=float("inf"))
            # A counter that would be lifted when its owner comes back need not be kept.
            for other in [other for other, served in self._served.items() if served <= least]:
                if other not in self._asking:
                    del self._served[other]

    def charge(self, who: Who, cost: float) -> None:
        """``who``, which asks for something, was served ``cost`` more."""
        self._served[who] += cost
        self._charges += 1
        self._last[who] = self._charges

    def precedence(self, who: Who) -> tuple[float, int]:
        """Return what ``who``, which asks for something, counts as having been served; the least is next.

        Of equal ones it is the one that was served longest ago.
        """
        return self._served[who], self._last.get(who, 0)

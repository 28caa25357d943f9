"""The report on hosts for operators: which of them answer, their statistics, and how many people wait."""

from typing import NamedTuple

from populace.actors.hosts import HostStatistics


class HostAnswer(NamedTuple):
    """What one host answered. ``shards`` is how many it owns.

    ``statistics`` is None if it did not answer in time, or only with an error, of which ``problem`` tells.
    """

    host: str
    shards: int
    statistics: HostStatistics | None
    problem: str | None = None

    @property
    def shards_unserved(self) -> int:
        """Its shards whose models are refused now: without an answer all, else those that it has not open."""
        return self.shards if self.statistics is None else self.shards - self.statistics.store.shards_open

    @property
    def lack(self) -> str | None:
        """What the host does not do, in words; None if it does all of its work."""
        if self.statistics is None:
            return "does not answer" if self.problem is None else f"serves nothing: {self.problem}"
        if self.shards_unserved:
            return f"serves {self.shards - self.shards_unserved} of {self.shards} shards"
        return None


class HostsReport(NamedTuple):
    """An answer of each configured host, in their order."""

    answers: tuple[HostAnswer, ...]

    @property
    def statistics(self) -> tuple[HostStatistics, ...]:
        """Those of the hosts that answered."""
        return tuple(answer.statistics for answer in self.answers if answer.statistics is not None)

    @property
    def unserved_share(self) -> float:
        """The share of shards that no host serves, in [0, 1]; as many people, because a hash places them."""
        shards = sum(answer.shards for answer in self.answers)
        return sum(answer.shards_unserved for answer in self.answers) / shards if shards else 0.0

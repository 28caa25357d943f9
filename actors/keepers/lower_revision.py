"""Decides which revision stays below what a model trains: its community's latest, or the one that it is on.

Who has no revision of their own trains a personal part on the community's. When the community's revision has
moved, a part that was trained on an earlier one is carried over to it with the next training, whose candidate
has to be better than the new one alone, and than what is served.
"""

from dataclasses import dataclass, replace
from typing import Self

from populace.actors.keepers.communities import Communities
from populace.actors.training_options import TrainingOptions
from populace.storage.records.lower_revision import lower_of
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger
from populace.storage.rows.ledger import FIRST_ALIAS, StoredModel


@dataclass(frozen=True, slots=True)
class LowerRevision:
    """The community's ``latest`` revision, None without one, and all revisions that it ever had."""

    latest: str | None = None
    of_community: frozenset[str] = frozenset()

    @classmethod
    def of(cls, communities: Communities, stored: StoredModel) -> Self:
        """Look up the community of a model. Not to be called within a write, as it may read another shard."""
        latest = communities.latest_of(stored)
        if latest is None:
            return cls()
        return cls(latest, communities.revisions(stored.identity.tenant))

    def chosen(self, txn: ReadTransaction, stored: StoredModel, asked: TrainingOptions) -> TrainingOptions:
        """Return the options with the revision that the model is to be trained on, if they name none."""
        if asked.on is not None or asked.from_base or asked.rebuilds is not None:
            return asked
        served = stored.aliases.get(FIRST_ALIAS)
        if served is None:
            return replace(asked, on=self.latest)
        made = ledger.read_revision(txn, stored.identity.tenant, stored.identity.name, served)
        lower = lower_of(made.hyper_parameters)
        return replace(asked, on=self.latest if lower in self.of_community else lower)

"""The community of each tenant: the model on whose revision those without one of their own begin.

It is looked up and never copied, so that everybody has the next revision with their next turn. The host of
the community's shard reads it for each turn. Every other host reads it from the shard's file, as a snapshot,
and knows it for ``FRESH_SECONDS``; the owner of the shard does not notice.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from populace.actors.clock import Clock
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.turn import ModelId
from populace.storage.records import keys
from populace.storage.records.errors import ModelNotFound, StorageError
from populace.storage.records.named import Named
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger
from populace.storage.rows.ledger import FIRST_ALIAS, StoredModel
from populace.storage.shards.pages import read_snapshot
from populace.storage.store import Store

T = TypeVar("T")

logger = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
"""How long a host serves by what it has read from another host's shard; a look takes 0.4 ms."""

TENANTS_KEPT_MAX = 4096


class Latest(NamedTuple):
    """The revision that the community's ``latest`` names, and its base."""

    digest: str
    base: str


class Communities:
    """Looks up the communities of all tenants for the models of one host."""

    def __init__(
        self,
        store: Store,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        *,
        name: str | None,
        clock: Clock,
    ) -> None:
        """``name`` is that of the community's model in every tenant; None: there are no communities."""
        self.name = name
        self._store = store
        self._shards = shards
        self._shard_of = shard_of
        self._clock = clock
        self._known: dict[str, tuple[float, Latest | None]] = {}

    def begins_on(self, stored: StoredModel) -> str | None:
        """Return the revision that serves a model without one of its own; None is the base.

        It is None as well for a model that has a revision.
        """
        return None if FIRST_ALIAS in stored.aliases else self.latest_of(stored)

    def latest_of(self, stored: StoredModel) -> str | None:
        """Return the latest revision of the model's community; None for itself, and if it is of another base.

        Not to be called within a write: it may read another shard.
        """
        identity = stored.identity
        if self.name is None or identity.name == self.name:
            return None
        latest = self._latest(identity.tenant)
        return None if latest is None or latest.base != identity.base else latest.digest

    def revisions(self, tenant: str) -> frozenset[str]:
        """Return all revisions that the tenant's community has, promoted or not."""
        if self.name is None:
            return frozenset()
        model = ModelId(tenant, self.name)

        def read(txn: ReadTransaction) -> frozenset[str]:
            return frozenset(revision.digest for revision in ledger.list_revisions(txn, *model))

        try:
            return self._read(model, read)
        except ModelNotFound:
            return frozenset()

    def _latest(self, tenant: str) -> Latest | None:
        assert self.name is not None, "asked only where there are communities"
        model, now = ModelId(tenant, self.name), self._clock.monotonic()
        read_at, known = self._known.get(tenant, (float("-inf"), None))
        is_own = self._shard_of(model) in self._shards.numbers
        if not is_own and now - read_at < FRESH_SECONDS:
            return known
        try:
            before = known
            known = self._read(model, lambda txn: _latest_in(txn, model, before))
        except StorageError as error:
            # A turn of another shard does not fail with the community's; the next one looks again.
            logger.warning("the community of %s is taken to be what it was: %s", Named(tenant), error)
            return known
        self._known.pop(tenant, None)
        self._known[tenant] = now, known
        if len(self._known) > TENANTS_KEPT_MAX:
            del self._known[next(iter(self._known))]
        return known

    def _read(self, model: ModelId, question: Callable[[ReadTransaction], T]) -> T:
        number = self._shard_of(model)
        if number in self._shards.numbers:
            with self._shards.read(number) as transaction:
                return question(transaction)
        with read_snapshot(self._store.shard_path(number)) as transaction:
            return question(transaction)


def _latest_in(txn: ReadTransaction, model: ModelId, known: Latest | None) -> Latest | None:
    digest = txn.get(keys.alias(*model, FIRST_ALIAS))
    if digest is None:
        return None
    # A revision never changes, and its record may have a thousand ids.
    if known is not None and known.digest == digest.decode():
        return known
    found = ledger.read_revision(txn, *model, FIRST_ALIAS)
    return Latest(found.digest, found.base)

"""Promotes a revision to an alias: registered → prewarming → ready.

The alias moves only when an engine has checked the adapter and has it in memory; until then the old
revision is served. A failure or crash on the way leaves the alias where it was and the revision registered:
the same call again continues from there.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from populace.actors.engine import Engine
from populace.actors.errors import EngineOverloaded
from populace.actors.hosts import Revision
from populace.actors.keepers.adapter_files import AdapterFiles
from populace.actors.keepers.catalogue import Catalogue, check_alias
from populace.actors.turn import ModelId
from populace.storage.rows.ledger import StoredModel

PREWARM_SECONDS_MAX = 60.0
"""The limit of a prewarming: it takes well under a second; the rest is waiting for room in an engine."""

PREWARM_RETRY_SECONDS = 5.0


class Promotions:
    """Promotes revisions of one host's models. Moves of one alias take effect in the order of arrival."""

    def __init__(self, catalogue: Catalogue, engine: Engine | None, adapters: AdapterFiles) -> None:
        """Without an ``engine`` nothing is prewarmed: a registered revision is ready."""
        self._catalogue = catalogue
        self._engine = engine
        self._adapters = adapters
        self._orders: dict[tuple[ModelId, str], _Order] = {}
        self._prewarming: Counter[tuple[ModelId, str]] = Counter()

    async def promote(self, model: ModelId, revision: Revision, alias: str) -> StoredModel:
        """Register the revision, prewarm it and move the alias; return the model after that.

        Raises ``InvalidName``, ``ModelNotFound``, and what ``Engine.prepare`` raises.
        """
        async with self._in_order(model, alias):
            await self._catalogue.register(model, revision, alias)
            await self._prewarm(model, revision.digest, alias)
            return await self._catalogue.promote(model, revision.digest, alias)

    async def repoint(self, model: ModelId, alias: str, reference: str) -> StoredModel:
        """Prewarm a revision of the model, named by ``reference``, and move the alias to it.

        ``reference`` is looked up after the earlier moves of the alias. Raises as ``promote``, and as
        ``Catalogue.find_revision``.
        """
        check_alias(alias)
        async with self._in_order(model, alias):
            digest = self._catalogue.find_revision(model, reference).digest
            await self._prewarm(model, digest, alias)
            return await self._catalogue.promote(model, digest, alias)

    async def remove(self, model: ModelId, alias: str) -> StoredModel:
        """Remove the alias after its earlier moves. Raises as the catalogue does."""
        async with self._in_order(model, alias):
            return await self._catalogue.remove_alias(model, alias)

    async def move(
        self, model: ModelId, digest: str, alias: str, move: Callable[[], Awaitable[StoredModel]]
    ) -> StoredModel:
        """Prewarm a registered revision, then have ``move`` move the alias to it. Raises as ``promote``."""
        async with self._in_order(model, alias):
            await self._prewarm(model, digest, alias)
            return await move()

    def revisions(self, model: ModelId) -> tuple[Revision, ...]:
        """List the model's revisions, oldest first, with how far each has come. Raises ``ModelNotFound``."""
        return tuple(
            replace(revision, readiness="prewarming")
            if revision.readiness == "registered" and (model, revision.digest) in self._prewarming
            else revision
            for revision in self._catalogue.revisions(model)
        )

    async def _prewarm(self, model: ModelId, digest: str, alias: str) -> None:
        if self._engine is None:
            return
        replaced = self._catalogue.load(model).aliases.get(alias)
        self._prewarming[model, digest] += 1
        try:
            async with asyncio.timeout(PREWARM_SECONDS_MAX):
                # It may have been made on another machine of this store.
                await self._adapters.fetch(digest)
                await self._engine.prepare(
                    self._adapters.ref(digest), None if replaced is None else self._adapters.ref(replaced)
                )
        except TimeoutError as error:
            message = f"The engine had no room for a new revision in {PREWARM_SECONDS_MAX:g} s."
            raise EngineOverloaded(message, PREWARM_RETRY_SECONDS) from error
        finally:
            self._prewarming[model, digest] -= 1
            if self._prewarming[model, digest] == 0:
                del self._prewarming[model, digest]

    @asynccontextmanager
    async def _in_order(self, model: ModelId, alias: str) -> AsyncGenerator[None]:
        order = self._orders.setdefault((model, alias), _Order())
        order.promotions += 1
        try:
            async with order.lock:
                yield
        finally:
            order.promotions -= 1
            if order.promotions == 0:
                del self._orders[model, alias]

    def check_integrity(self) -> None:
        assert all(order.promotions > 0 for order in self._orders.values())
        assert all(count > 0 for count in self._prewarming.values())
        assert self._prewarming.total() <= len(self._orders), "one prewarms for each alias"


class _Order:
    """The order of one alias's moves; asyncio's lock is fair. ``promotions`` counts those in it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.promotions = 0

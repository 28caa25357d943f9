"""The adapters of one host's models on this machine's disk; those that are not here come from the journal.

After a store has moved to another machine its adapters are in the bucket. One that a turn needs is fetched
before it is granted, the others in the background, those that an alias names first.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from populace.actors.engine import AdapterRef
from populace.actors.keepers.owned_shards import OwnedShards
from populace.storage.journal.errors import JournalDamaged
from populace.storage.journal.journals import Journals
from populace.storage.records import keys
from populace.storage.records.erasures import digests_in_use
from populace.storage.records.errors import StorageError, StoreInvalid
from populace.storage.records.transaction import ReadTransaction
from populace.storage.store import Store

logger = logging.getLogger(__name__)

FETCHES_MAX = 4
"""How many adapters are fetched at a time."""

SOUND_MAX = 65_536
"""Adapters of which it is known that they are whole; 8 MB. Then they are compared anew, a millisecond or so
for each MB."""


class AdapterFiles:
    """Names the files of adapters, and fetches absent ones. For one event loop, but for ``find``."""

    def __init__(self, store: Store, shards: OwnedShards, journals: Journals | None) -> None:
        self._files = store.revisions
        self._shards = shards
        self._journals = journals
        self._fetching: dict[str, asyncio.Future[Path | None]] = {}
        self._sound: set[str] = set()
        """Adapters that this process has compared with their digests."""
        self._looked_at: set[int] = set()
        """The shards of whose adapters none was absent when they were last looked at."""
        self._in_background: asyncio.Task[int] | None = None
        self._fetchers = ThreadPoolExecutor(FETCHES_MAX, thread_name_prefix="populace-fetch")

    def ref(self, digest: str) -> AdapterRef:
        return AdapterRef(digest, str(self._files.path(digest)))

    def find(self, digest: str) -> Path | None:
        """Return an adapter's packed file or directory here, None if it is neither here nor in the journal.

        One that is in the journal alone, or is damaged here, is stored here first. Blocks; safe from many
        threads. Raises as ``fetch`` does.
        """
        found = self._files.find(digest)
        if self._journals is None:
            return found
        if found is None:
            return self._files.path(digest) if self._journals.adapters.fetch(digest) else None
        if digest not in self._sound and self._files.has(digest):
            self._make_sound(digest, self._journals)
        return found

    def _make_sound(self, digest: str, journals: Journals) -> None:
        """Compare an adapter of this disk with its digest; one that is damaged comes from the journal anew.

        An engine compares it too, and does not use it: without this its people would have no replies.
        """
        try:
            self._files.verify(digest)
        except StoreInvalid as error:
            logger.error("%s; it is fetched from the journal", error)  # noqa: TRY400 - not a bug
            if not journals.adapters.mend(digest):
                raise
            self._files.verify(digest)
        if len(self._sound) >= SOUND_MAX:
            self._sound.clear()
        self._sound.add(digest)

    async def keep_ahead(self, *digests: str) -> None:
        """Bring adapters to the journal that a commit is about to name.

        In the commit itself, all others of its group would wait for it, and fail with it. Raises
        ``BucketUnreachable`` and ``BucketRefused``.
        """
        if self._journals is not None:
            for digest in digests:
                await asyncio.to_thread(self._journals.keep_ahead, digest)

    async def fetch(self, digest: str) -> bool:
        """See to it that an adapter of the journal is here; return whether it came; callers share a download.

        One that this process did not read before is compared with its digest. Raises ``BucketUnreachable``,
        ``BucketRefused``, ``JournalDamaged``, ``DiskRefused``, and ``StoreInvalid`` for one that is damaged
        and not in the journal.
        """
        is_here = self._files.has(digest)
        if self._journals is None or (is_here and digest in self._sound):
            return False
        fetching = self._fetching.get(digest)
        if fetching is None:
            loop = asyncio.get_running_loop()
            fetching = loop.run_in_executor(self._fetchers, self.find, digest)
            self._fetching[digest] = fetching
            fetching.add_done_callback(lambda done: self._note_fetched(digest, done))
        # A caller that gives up does not end it for the others.
        found = await asyncio.shield(fetching)
        if found is None:
            logger.warning("the adapter %s is neither here nor in the journal", digest)
        return found is not None and not is_here

    async def fetch_absent(self) -> int:
        """Fetch what the open shards' models have and this disk has not; return how many.

        What cannot be fetched is tried again the next time. A shard that lacks none is not looked at again.
        """
        if self._journals is None:
            return 0
        count = 0
        for number in self._shards.numbers:
            if number in self._looked_at or not self._shards.is_held(number):
                continue
            try:
                digests = await self._shards.read_on_thread(number, digests_by_need)
                absent = [digest for digest in digests if not self._files.has(digest)]
                for start in range(0, len(absent), FETCHES_MAX):
                    some = absent[start : start + FETCHES_MAX]
                    count += sum(
                        await asyncio.gather(*(self._fetch_unless_damaged(digest) for digest in some))
                    )
            except (StorageError, OSError) as error:
                logger.warning("the adapters of shard %d are not all here yet: %s", number, error)
            else:
                self._looked_at.add(number)
        return count

    async def _fetch_unless_damaged(self, digest: str) -> bool:
        """Fetch an adapter; only log that its object is damaged, as the others need not wait for it."""
        try:
            return await self.fetch(digest)
        except JournalDamaged as error:
            logger.error("the adapter %s is not fetched: %s", digest, error)  # noqa: TRY400 - not a bug
            return False

    def fetch_absent_nowait(self) -> None:
        """Begin ``fetch_absent`` in the background, unless it is under way. Called by the runtime's clock."""
        if self._journals is not None and (self._in_background is None or self._in_background.done()):
            self._in_background = asyncio.create_task(self._fetch_absent_and_tell())

    async def _fetch_absent_and_tell(self) -> int:
        count = await self.fetch_absent()
        if count:
            logger.info("fetched %d adapters from the journal", count)
        return count

    def forget_shard(self, number: int) -> None:
        """Look at a shard anew: it was lost, and may come back with other models' adapters."""
        self._looked_at.discard(number)

    def close(self) -> None:
        """Fetch no more; what is under way ends first."""
        if self._in_background is not None:
            self._in_background.cancel()
        self._fetchers.shutdown(cancel_futures=True)

    def _note_fetched(self, digest: str, done: "asyncio.Future[Path | None]") -> None:
        del self._fetching[digest]
        if not done.cancelled():
            # Also if its callers are gone: asyncio would report it as never looked at.
            done.exception()


def digests_by_need(txn: ReadTransaction) -> list[str]:
    """Return the digests of all adapters that models have, those that an alias names first."""
    named = {value.decode() for _, value in txn.scan(keys.all_aliases())}
    return [*sorted(named), *sorted(set(digests_in_use(txn)) - named)]

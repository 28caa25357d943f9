"""Empties the journals that a store had before, so that they bring back no one who was erased since.

``journal.json`` remembers them, see ``storage/journal/former.py``. As long as the shards do not follow
another journal they are what a lost machine is restored from, and nothing is erased meanwhile
(``attaching.leave``).
"""

import logging
import secrets
import time
from collections.abc import Iterable

from populace.storage.journal.bucket import Bucket
from populace.storage.journal.description import describe_left, is_described
from populace.storage.journal.errors import SegmentsGone
from populace.storage.journal.former import FormerJournal, note_former
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.shard_journal import ShardJournal, shard_folder
from populace.storage.store import Store

logger = logging.getLogger(__name__)


def leave_former(
    store: Store, former: Iterable[FormerJournal], current: Bucket, origins: frozenset[bytes]
) -> None:
    """Empty the former journals of a store, all of whose shards follow the one in the bucket ``current``.

    ``origins`` are what tells the journals of its shards from others. A former one that another machine goes
    on with is left as it is, and forgotten. Raises ``BucketUnreachable``, ``BucketRefused`` and
    ``JournalDamaged`` for one that cannot be emptied, and ``StoreInvalid`` and ``DiskRefused``; all may be
    tried again.
    """
    for one in former:
        _leave(store, current, one, origins)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _leave(store: Store, current: Bucket, former: FormerJournal, origins: frozenset[bytes]) -> None:
    bucket = open_bucket(former.url)
    seal = JournalSeal(store.sealing.master_key, store.store_id)
    journals: list[ShardJournal] = []
    for number, standing in enumerate(former.shards):
        if standing is not None:
            folder = shard_folder(store.store_id, number)
            journal = ShardJournal(bucket, seal, folder, number, owner="populace", now_ms=_now_ms)
            journal.seek(standing.position)
            journals.append(journal)
    if not former.is_ours:
        if not _is_ours(bucket, current, store.store_id, journals, origins):
            note_former(store.path, former, is_done=True)
            return
        former = former.model_copy(update={"is_ours": True})
        note_former(store.path, former, is_done=False)
    for journal in journals:
        _empty(journal)
    bucket.remove([found.name for found in bucket.names(f"{store.store_id}/adapters")])
    if is_described(bucket, store.store_id):
        describe_left(bucket, store.store_id)
    note_former(store.path, former, is_done=True)
    logger.warning("the former journal in %s is empty: what is erased is not in it", former.url)


def _is_ours(
    bucket: Bucket, current: Bucket, store_id: str, journals: list[ShardJournal], origins: frozenset[bytes]
) -> bool:
    """Whether it is another journal than the one that is followed now, and nobody else goes on with it."""
    journals = [journal for journal in journals if bucket.names(journal.folder)]
    if not journals:
        return False
    # The same bucket may have two URLs, and a journal that was moved with its bucket may be there twice.
    probe = f"{store_id}/checked-{secrets.token_hex(8)}"
    try:
        current.replace(probe, b"")
        if bucket.has(probe):
            return False
    finally:
        current.remove([probe])
    if any(journal.origin() in origins for journal in journals):
        logger.warning("%s has a copy of the journal, which may have what is erased: remove it", bucket.url)
        return False
    for journal in journals:
        epoch, commit = journal.end.epoch, journal.end.commit
        for segment in journal.follow():
            if segment.epoch > epoch or any(one.number > commit for one in segment.commits):
                logger.warning("another machine goes on with the former journal in %s", bucket.url)
                return False
    return True


def _empty(journal: ShardJournal) -> None:
    """Claim a journal, so that nobody else writes to it, and remove all but the claims."""
    try:
        while True:
            for _ in journal.follow():
                pass
            if journal.claim():
                break
        journal.write_keys({})
    except SegmentsGone:
        logger.info("an earlier attempt has claimed the former journal of shard %d", journal.shard)
    snapshots = [found.name for found in journal.listed("s")]
    journal.bucket.remove(snapshots + journal.commits_before(None))

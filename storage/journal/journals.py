"""The journals of the shards of one process: claimed as they are opened, then shipped and collected.

What no restore needs any more is removed.
Snapshots are kept from the newest one that is older than what may be gone back to, and the segments behind
the first of these. Claims are kept for ever: a former owner that lives on without knowing of a claim writes
its next segment under the claim's number, and must find that taken.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from populace.storage.journal.adapters import JournalAdapters
from populace.storage.journal.attaching import attach, take_snapshot
from populace.storage.journal.damage import find_damage
from populace.storage.journal.description import describe_again
from populace.storage.journal.errors import BucketUnreachable, JournalDamaged
from populace.storage.journal.former import former_journals
from populace.storage.journal.leaving import leave_former
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions, JournalStatistics
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import Position, number_in
from populace.storage.journal.shard_journal import ShardJournal, shard_folder
from populace.storage.journal.shipping import Shipping, State, followed_row, stored_row
from populace.storage.journal.snapshot import read_snapshot
from populace.storage.records.errors import Fenced, ShardStopped, StorageError
from populace.storage.shards import pages
from populace.storage.shards.shard import Shard
from populace.storage.store import Store


def collect(journal: ShardJournal, *, kept_from_ms: int) -> int:
    """Remove what a restore to ``kept_from_ms`` or later does not need; return how many objects."""
    snapshots = [(number_in(found.name), found.name) for found in journal.listed("s")]
    if not snapshots:
        return 0
    first = next(
        (
            place
            for place in reversed(range(len(snapshots)))
            if _is_from_before(journal, snapshots[place][0], kept_from_ms)
        ),
        0,
    )
    number, _ = snapshots[first]
    doomed = [name for _, name in snapshots[:first]]
    doomed += journal.commits_before(number)
    journal.bucket.remove(doomed)
    journal.remove_former_keys()
    return len(doomed)


def _is_from_before(journal: ShardJournal, number: int, kept_from_ms: int) -> bool:
    try:
        return read_snapshot(journal, number).written_ms <= kept_from_ms
    except JournalDamaged as error:
        logger.warning("a restore cannot begin with it: %s", error)
        return False


logger = logging.getLogger(__name__)

SHIP_SECONDS = 0.5
"""How often what was committed is shipped; with the time of a request, the most that ``async`` loses."""

TEND_SECONDS = 5.0
"""How often it is looked whether a snapshot is due."""

COLLECT_SECONDS = 3600.0
"""How often it is looked what is older than what is kept."""

CHECK_SECONDS = 600.0
"""How often it is looked whether others could take a shard over: its journal is listed, and first read."""

ERASED_SECONDS_MAX = 600.0
"""How long after an erasure the snapshot is written that has it no more. What is kept counts from there."""

FINISH_SECONDS_MAX = 10.0
SHIPPED_AT_ONCE = 8
MENDED_AT_ONCE = 4

SEGMENTS_MAX = 2000
"""Segments behind a snapshot. A restore reads some hundred in a second, each with a request of its own."""

SEGMENT_BYTES_MIN = 16 * 2**20
"""Segments with fewer bytes are not worth a snapshot."""


@dataclass(slots=True)
class _Attached:
    shard: Shard
    journal: ShardJournal
    shipping: Shipping
    snapshot: Position
    snapshot_ms: int
    snapshot_bytes: int = 0
    collect_at_s: float = 0.0
    shipped_at_s: float = 0.0
    check_at_s: float = 0.0
    is_read: bool = False
    tending: threading.Lock = field(default_factory=threading.Lock)


class Journals:
    """Attaches shards to their journals in a bucket, and ships and collects these on a thread of its own."""

    def __init__(
        self,
        store: Store,
        options: JournalOptions,
        *,
        owner: str,
        now_ms: Callable[[], int],
    ) -> None:
        """Send no request yet. Raises ``BucketRefused`` for a URL that names no bucket."""
        self._store = store
        self._bucket = open_bucket(options.url)
        self._seal = JournalSeal(store.sealing.master_key, store.store_id)
        self.adapters = JournalAdapters(self._bucket, self._seal, store.store_id, store.revisions)
        self._options = options
        self._owner = owner
        self._now_ms = now_ms
        self._attached: dict[int, _Attached] = {}
        self._failures = 0
        self._leave_at_s = 0.0
        self._ended = threading.Event()
        self._shippers = ThreadPoolExecutor(SHIPPED_AT_ONCE, thread_name_prefix="populace-ship")
        for name, target in (("ship", self._run_shipping), ("tend", self._run_tending)):
            threading.Thread(target=target, name=f"populace-journal-{name}", daemon=True).start()

    def attach(self, shard: Shard) -> None:
        """Bring a shard that was just opened and its journal together. Raises as ``attaching.attach``."""
        folder = shard_folder(self._store.store_id, shard.number)
        journal = ShardJournal(
            self._bucket,
            self._seal,
            folder,
            shard.number,
            owner=self._owner,
            now_ms=self._now_ms,
            run=self._options.run,
        )
        shipping = attach(shard, journal, self.adapters, is_sync=self._options.is_sync)
        snapshot, written_ms = Position(), 0
        # One that cannot be read is found when the journal is read, at once.
        with contextlib.suppress(JournalDamaged, IndexError):
            newest = read_snapshot(journal, number_in(journal.listed("s")[-1].name))
            snapshot, written_ms = newest.position, newest.written_ms
        now_s = time.monotonic()
        self._attached[shard.number] = _Attached(
            shard,
            journal,
            shipping,
            snapshot=snapshot,
            snapshot_ms=written_ms,
            collect_at_s=now_s + COLLECT_SECONDS,
            shipped_at_s=now_s,
        )

    def keep_ahead(self, digest: str) -> None:
        """Bring an adapter to the bucket before a commit names it that would wait for that, as in ``sync``.

        Raises as ``JournalAdapters.keep``.
        """
        if self._options.is_sync:
            self.adapters.keep(digest)

    def detach(self, shard: Shard) -> None:
        """Leave the shard alone from now on. What waits is shipped when it is attached again."""
        attached = self._attached.get(shard.number)
        if attached is not None and attached.shard is shard:
            del self._attached[shard.number]

    def finish(self) -> None:
        """End the threads and ship what waits, as far as the bucket takes it in ``FINISH_SECONDS_MAX``."""
        self._ended.set()
        waiting = [self._shippers.submit(self._ship, one) for one in list(self._attached.values())]
        wait(waiting, timeout=FINISH_SECONDS_MAX)
        self._shippers.shutdown(wait=False, cancel_futures=True)

    def ship_all(self, seconds_max: float) -> None:
        """Ship what waits, of all shards at once; those of another owner by now are left out.

        Raises ``BucketUnreachable``, also after ``seconds_max``, and ``BucketRefused``; all goes on then.
        """
        shipped = [self._shippers.submit(one.shipping.ship) for one in list(self._attached.values())]
        _, waiting = wait(shipped, timeout=seconds_max)
        if waiting:
            raise BucketUnreachable(f"{len(waiting)} shards were not written to it in {seconds_max:.0f} s")
        for one in shipped:
            with contextlib.suppress(Fenced, ShardStopped):
                one.result()

    def mend_all(self, seconds_max: float) -> None:
        """Read what another owner would need of all shards' journals, and mend what is damaged of it.

        Goes on in the background after ``seconds_max``. What fails is logged.
        """
        for one in list(self._attached.values()):
            one.is_read, one.check_at_s = False, 0.0
        # Not the shippers: what is committed meanwhile is shipped.
        menders = ThreadPoolExecutor(MENDED_AT_ONCE, thread_name_prefix="populace-mend")
        tended = [menders.submit(self._guarded, one, self._tend) for one in list(self._attached.values())]
        wait(tended, timeout=seconds_max)
        menders.shutdown(wait=False)

    def statistics(self) -> JournalStatistics:
        attached = list(self._attached.values())
        behind = [one for one in attached if one.shipping.behind_bytes]
        now_s = time.monotonic()
        return JournalStatistics(
            len(attached),
            sum(one.shipping.behind_bytes for one in behind),
            max((now_s - one.shipped_at_s for one in behind), default=0.0),
            self._failures,
        )

    def _run_shipping(self) -> None:
        """Ship all shards at once, again and again: one that is slow keeps the others waiting for a round."""
        while not self._ended.wait(SHIP_SECONDS):
            with contextlib.suppress(RuntimeError):  # it is being shut down
                wait([self._shippers.submit(self._ship, one) for one in list(self._attached.values())])

    def _run_tending(self) -> None:
        while not self._ended.wait(TEND_SECONDS):
            self._leave_former()
            for attached in list(self._attached.values()):
                if self._ended.is_set():
                    return
                self._guarded(attached, self._tend)

    def _leave_former(self) -> None:
        """Empty the journals that the store had before, once all of its shards follow this one."""
        # One process does, the one that has the first shard.
        if 0 not in self._attached or time.monotonic() < self._leave_at_s:
            return
        try:
            former = former_journals(self._store.path)
            origins = self._origins() if former else frozenset[bytes]()
            if origins is None:
                return
            self._leave_at_s = time.monotonic() + CHECK_SECONDS
            leave_former(self._store, former, self._bucket, origins)
        except StorageError as error:
            logger.warning("a former journal is not emptied: %s", error)
        except Exception:  # a bug of ours; the journals go on
            logger.exception("a former journal could not be emptied")

    def _origins(self) -> frozenset[bytes] | None:
        """Return what tells the journals that the shards follow; None as long as one of all follows none."""
        origins: set[bytes] = set()
        for number, path in enumerate(Store.shard_paths(self._store.path, self._store.store_id)):
            attached = self._attached.get(number)
            reading = pages.read_snapshot(path) if attached is None else attached.shard.read(verbatim=True)
            with reading as txn:
                row = stored_row(txn)
            if row is None or row.state is not State.FOLLOWS:
                return None
            origins.add(row.origin)
        return frozenset(origins)

    def _ship(self, attached: _Attached) -> None:
        def ship(one: _Attached) -> None:
            one.shipping.ship()
            one.shipped_at_s = time.monotonic()

        self._guarded(attached, ship)

    def _guarded(self, attached: _Attached, work: Callable[[_Attached], None]) -> None:
        try:
            work(attached)
        except (Fenced, ShardStopped):
            # Its owner finds out by itself.
            return
        except StorageError as error:
            self._failures += 1
            logger.warning("the journal of shard %d: %s", attached.shard.number, error)
        except Exception:  # a bug of ours; the other shards' journals go on
            logger.exception("the journal of shard %d failed", attached.shard.number)

    def _tend(self, attached: _Attached) -> None:
        with attached.tending:
            self._mend(attached)
            self._keep_short(attached)

    def _mend(self, attached: _Attached) -> None:
        """Find what of the journal is damaged, and write a snapshot at its end that stands for it."""
        journal, now_s = attached.journal, time.monotonic()
        if now_s < attached.check_at_s:
            return
        with attached.shard.read(verbatim=True) as txn:
            origin = followed_row(txn).origin
        journal.note_origin(origin)
        damage = self._damage(attached)
        attached.check_at_s, attached.is_read = now_s + CHECK_SECONDS, True
        if damage is None and describe_again(self._bucket, self._store):
            logger.error("the journal had no description of the store any more, and has it again")
        if damage is None or journal.newest_epoch() > journal.end.epoch:
            # Another owner's is that one's to mend.
            return
        number = attached.shard.number
        logger.error("shard %d mends its journal with a snapshot: %s", number, damage)
        attached.shipping.renew_keys()
        self._take_snapshot(attached)
        attached.is_read = False
        damage = self._damage(attached)
        if damage is None:
            logger.warning("the journal of shard %d is whole again", number)
        else:
            logger.error("the journal of shard %d is still damaged: %s", number, damage)

    def _damage(self, attached: _Attached) -> JournalDamaged | None:
        journal = attached.journal
        return find_damage(journal, until=journal.end.segment, reads=not attached.is_read)

    def _take_snapshot(self, attached: _Attached) -> None:
        attached.snapshot, attached.snapshot_bytes = take_snapshot(attached.journal, attached.shipping)
        attached.snapshot_ms, attached.journal.sent_bytes = self._now_ms(), 0
        attached.collect_at_s = time.monotonic()
        behind = attached.snapshot.segment
        attached.journal.sizes = {
            number: size for number, size in list(attached.journal.sizes.items()) if number > behind
        }

    def _keep_short(self, attached: _Attached) -> None:
        """Write a snapshot if one is due, and remove what no restore needs any more."""
        journal = attached.journal
        now_s, now_ms = time.monotonic(), self._now_ms()
        keep_ms = int(self._options.keep_seconds * 1000)
        segments = journal.end.segment - attached.snapshot.segment
        age_ms = now_ms - attached.snapshot_ms
        # Also if little was written: names that were erased are to leave the journal in the time it is kept.
        is_old = segments > 0 and age_ms > keep_ms // 2
        has_erased = attached.shipping.erased_commit > attached.snapshot.commit
        is_erased = has_erased and age_ms >= min(keep_ms // 10, ERASED_SECONDS_MAX * 1000)
        if is_old or is_erased or _snapshot_due(segments, journal.sent_bytes, attached.snapshot_bytes):
            self._take_snapshot(attached)
        attached.shipping.note_shipped()
        if time.monotonic() >= attached.collect_at_s:
            attached.collect_at_s = now_s + COLLECT_SECONDS
            collect(journal, kept_from_ms=now_ms - keep_ms)


def _snapshot_due(segments: int, segment_bytes: int, snapshot_bytes: int) -> bool:
    """Whether a snapshot is due after these segments since the last one, which has ``snapshot_bytes``.

    Segments are replayed about as fast as a snapshot is read, so that they may have as many bytes as it.
    """
    return segments >= SEGMENTS_MAX or segment_bytes >= max(SEGMENT_BYTES_MIN, snapshot_bytes)

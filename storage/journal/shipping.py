"""Ships a shard's commits to its journal: before they are durable on the disk, or soon after.

``Sync`` writes each group commit as a segment and then commits it, so that the shard on the disk is never
ahead of its journal. ``Async`` commits it together with a row that holds its changes, and ships such rows
later; what was acknowledged and not shipped is lost with the disk. Rows in the shard itself::

    !journal           -> JournalRow: up to where the shard and its journal agree
    !shipping commit   -> changes that are not in the journal yet, and whether data keys are among them
"""

import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import msgpack

from populace.storage.journal.errors import (
    BucketUnreachable,
    JournalBehind,
    JournalOutcomeUnknown,
    JournalOvertaken,
    JournalUnsettled,
)
from populace.storage.journal.segment import Commit, Position, pack_changes, unpack_changes
from populace.storage.journal.shard_journal import Prepared, ShardJournal
from populace.storage.records import journal_keys, keys
from populace.storage.records.errors import Fenced
from populace.storage.records.records import DataKeyRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.shards.rows import PUT, Change, Writer
from populace.storage.shards.shard import Shard

logger = logging.getLogger(__name__)

BEHIND_BYTES_MAX = 256 * 2**20
"""Changes that wait to be shipped. Beyond them a shard takes no more."""

SEGMENT_BYTES_MAX = 8 * 2**20
"""Changes in one segment of ``Async``, unless one commit has more."""

_msgpack: Any = msgpack  # it ships no types


class State(IntEnum):
    """How a shard on the disk stands to its journal.

    ``BEHIND``: it replays segments, whose data keys it has not yet. ``REBUILDING``: its rows are replaced by
    those of the journal, and are not whole. ``LEFT``: it was served without the journal since.
    """

    FOLLOWS = 0
    BEHIND = 1
    REBUILDING = 2
    LEFT = 3


class JournalRow(NamedTuple):
    """Up to ``position`` the journal has what the shard has; ``commit`` is the newest commit of the shard.

    ``origin`` tells which journal it is.
    """

    position: Position
    commit: int
    origin: bytes
    state: State = State.FOLLOWS

    def pack(self) -> bytes:
        packed: bytes = _msgpack.packb((tuple(self.position), self.commit, self.origin, int(self.state)))
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> "JournalRow":
        position, commit, origin, state = _msgpack.unpackb(packed)
        return cls(Position(*position), commit, origin, State(state))


def stored_row(txn: ReadTransaction) -> JournalRow | None:
    packed = txn.get(journal_keys.JOURNAL_KEY)
    return None if packed is None else JournalRow.unpack(packed)


def followed_row(txn: ReadTransaction) -> JournalRow:
    """Return how a shard stands that has a journal."""
    row = stored_row(txn)
    assert row is not None, "the shard follows no journal"
    return row


def put_row(writer: Writer, row: JournalRow) -> None:
    writer.put(journal_keys.JOURNAL_KEY, row.pack())


def wrapped_keys(txn: ReadTransaction) -> dict[bytes, bytes]:
    """Return the wrapped data keys of all models of a shard, by the keys of their rows."""
    return dict(txn.scan(keys.all_data_keys()))


class Shipping(Protocol):
    """Implements ``Recorder`` for a shard whose journal was claimed. Safe from several threads at once."""

    def record(self, writer: Writer, changes: Sequence[Change]) -> None: ...

    def ship(self) -> None:
        """Write what is not in the journal yet. An error of another owner's claim stops the shard.

        Raises ``BucketUnreachable`` and ``BucketRefused``; it is tried again then.
        """
        ...

    @contextmanager
    def still(self) -> Generator[tuple[ReadTransaction, Position]]:
        """Yield a snapshot of the shard and its position, after writing what the journal lacks of it."""
        ...

    def note_shipped(self) -> None:
        """Note in the shard up to where its journal has it, so that earlier segments are not needed.

        Nor is the last one then, if it is damaged, to know that the shard has all of it.
        """
        ...

    def renew_keys(self) -> None:
        """Write the data keys anew, in the place of damaged ones. Raises as ``ship``."""
        ...

    @property
    def behind_bytes(self) -> int:
        """The bytes of changes that are acknowledged and not in the journal."""
        ...

    @property
    def erased_commit(self) -> int:
        """The newest commit by which something was erased or forgotten; 0 if there is none known."""
        ...


class Adapters(Protocol):
    """Where the adapters of a journal are."""

    def keep(self, digest: str) -> None:
        """See to it that it is there. Raises ``BucketUnreachable`` and ``BucketRefused``."""
        ...


class Sync:
    """Each commit is in the journal before it is durable here, and before it is acknowledged."""

    behind_bytes = 0

    def __init__(self, shard: Shard, journal: ShardJournal, adapters: Adapters) -> None:
        self._shard = shard
        self._journal = journal
        self._adapters = adapters
        self._keys_of = 0
        """The commit whose data keys are in the journal; they are wrong as long as it did not take place."""

        self.erased_commit = _waiting_erasure(shard)

    def record(self, writer: Writer, changes: Sequence[Change]) -> None:
        """Write the changes as a segment; what cannot be written is not committed."""
        shipped, with_keys = _journaled(changes)
        if not shipped:
            return
        row = followed_row(writer)
        commit = row.commit + 1
        if with_keys or row.commit < self._keys_of:
            # First: without its keys, the segment could not be read.
            self._keys_of = commit
            self._journal.write_keys(wrapped_keys(writer))
        _keep_adapters(self._adapters, shipped)
        if erases(changes):
            self.erased_commit = commit
        prepared = self._journal.prepare([Commit(commit, shipped)])
        put_row(writer, row._replace(position=prepared.position, commit=commit))
        try:
            self._journal.send(prepared)
        except JournalOvertaken as error:
            raise Fenced(self._shard.number, row.position.epoch, row.position.epoch + 1) from error
        except JournalUnsettled as error:
            raise JournalOutcomeUnknown(self._shard.number, error.reason) from error

    def ship(self) -> None:
        return

    @contextmanager
    def still(self) -> Generator[tuple[ReadTransaction, Position]]:
        with self._shard.read(verbatim=True) as txn:
            yield txn, followed_row(txn).position

    def note_shipped(self) -> None:
        return

    def renew_keys(self) -> None:
        # Within a transaction: no commit replaces them meanwhile by other ones.
        self._shard.apply(lambda writer: self._journal.write_keys(wrapped_keys(writer)))


class Async:
    """Each commit is durable here first, with its changes in a row, and a segment has what has gathered."""

    def __init__(self, shard: Shard, journal: ShardJournal, adapters: Adapters) -> None:
        self._shard = shard
        self._journal = journal
        self._adapters = adapters
        self._shipped = journal.end
        self._sent: tuple[Prepared, int] | None = None
        """A segment of which it is not known yet whether it was written, and the bytes of its changes."""
        self._shipping = threading.RLock()
        self.behind_bytes = 0
        self.erased_commit = _waiting_erasure(shard)

    def record(self, writer: Writer, changes: Sequence[Change]) -> None:
        """Keep the changes in a row, and remove the rows of what was shipped since."""
        shipped, with_keys = _journaled(changes)
        if not shipped:
            return
        if self.behind_bytes > BEHIND_BYTES_MAX:
            raise JournalBehind(self._shard.number, self.behind_bytes)
        row = self._put_shipped(writer)
        if erases(changes):
            self.erased_commit = row.commit + 1
        packed = _pack_waiting(shipped, with_keys=with_keys)
        writer.put(journal_keys.shipping(row.commit + 1), packed)
        put_row(writer, row._replace(commit=row.commit + 1))
        # An abort would leave it too high, until the next ``ship`` counts anew.
        self.behind_bytes += len(packed)

    def ship(self) -> None:
        with self._shard.read(verbatim=True) as txn:
            row = followed_row(txn)
        try:
            # Not what comes meanwhile: other shards wait, too.
            while self._shipped.commit < row.commit and self._ship_some(None):
                pass
        except JournalOvertaken as error:
            epoch = self._shipped.epoch
            logger.warning("%s", error)
            self._shard.stop(Fenced(self._shard.number, epoch, epoch + 1))

    @contextmanager
    def still(self) -> Generator[tuple[ReadTransaction, Position]]:
        with ExitStack() as stack:
            with self._shipping:
                txn = stack.enter_context(self._shard.read(verbatim=True))
                row = followed_row(txn)
                while self._shipped.commit < row.commit:
                    self._ship_some(txn)
                position = self._shipped
            yield txn, position

    def note_shipped(self) -> None:
        with self._shard.read(verbatim=True) as txn:
            is_noted = followed_row(txn).position == self._shipped
        if not is_noted:
            self._shard.apply(self._put_shipped)

    def renew_keys(self) -> None:
        with self._shipping, self._shard.read(verbatim=True) as txn:
            self._journal.write_keys(wrapped_keys(txn))

    def _put_shipped(self, writer: Writer) -> JournalRow:
        """Put the position that was shipped, and remove the rows of what is before it."""
        row = followed_row(writer)
        shipped = self._shipped
        for number in range(row.position.commit + 1, shipped.commit + 1):
            writer.delete(journal_keys.shipping(number))
        row = row._replace(position=shipped)
        put_row(writer, row)
        return row

    def _ship_some(self, within: ReadTransaction | None) -> bool:
        """Ship one segment; False if nothing waits. ``within`` a snapshot, nothing newer than that."""
        with self._shipping:
            if self._sent is None:
                commits, data_keys, taken, self.behind_bytes = self._gathered(within)
                if not commits:
                    return False
                # None at all is what is left of the last model of a shard.
                if data_keys is not None:
                    self._journal.write_keys(data_keys)
                for commit in commits:
                    _keep_adapters(self._adapters, commit.changes)
                self._sent = (self._journal.prepare(commits), taken)
            prepared, taken = self._sent
            try:
                self._journal.send(prepared)
            except JournalUnsettled as error:
                raise BucketUnreachable(error.reason) from error
            self._sent = None
            self.behind_bytes = max(0, self.behind_bytes - taken)
            self._shipped = self._journal.end
            return True

    def _gathered(
        self, within: ReadTransaction | None
    ) -> tuple[list[Commit], dict[bytes, bytes] | None, int, int]:
        """Return the commits to ship next, data keys if these change any, their bytes, and all that wait."""
        if within is None:
            with self._shard.read(verbatim=True) as txn:
                return self._gathered(txn)
        commits: list[Commit] = []
        changes_keys, taken, size = False, 0, 0
        for key, packed in within.scan(
            journal_keys.all_shipping(), after=journal_keys.shipping(self._shipped.commit)
        ):
            size += len(packed)
            if commits and taken + len(packed) > SEGMENT_BYTES_MAX:
                continue
            taken += len(packed)
            changes, with_keys = unpack_waiting(packed)
            changes_keys |= with_keys
            commits.append(Commit(journal_keys.shipping_number(key), changes))
        return commits, wrapped_keys(within) if changes_keys else None, taken, size


def _journaled(changes: Sequence[Change]) -> tuple[list[Change], bool]:
    """Return the changes that a segment has, and whether there are some of data keys, which it has not.

    The rows of the shard itself are not in the journal; only its served time goes along with others, and that
    something was erased: other machines have it in free pages, too, until they compact. In the place of a
    data key is its id: a name that was erased and is used again has another one.
    """
    kept: list[Change] = []
    with_keys = False
    for change in changes:
        key = change[1]
        if journal_keys.is_data_key(key):
            with_keys = True
            kept.append(_of_key_id(change))
        elif not journal_keys.is_of_shard(key) or key == keys.SERVED_KEY or erases([change]):
            kept.append(change)
    is_any = any(change[1] not in (keys.SERVED_KEY, keys.ERASED_KEY) for change in kept)
    return kept if is_any else [], with_keys


def erases(changes: Sequence[Change]) -> bool:
    """Return whether the changes erase a model or forget turns: both note it in the same transaction."""
    return any(change[0] == PUT and change[1] == keys.ERASED_KEY for change in changes)


def _waiting_erasure(shard: Shard) -> int:
    """Return the newest commit if something was erased that may still be in the newest snapshot."""
    with shard.read(verbatim=True) as txn:
        return 0 if txn.get(keys.ERASED_KEY) is None else followed_row(txn).commit


def _of_key_id(change: Change) -> Change:
    marker = journal_keys.key_id_of(change[1])
    match change:
        case (kind, _, value):
            return (kind, marker, DataKeyRecord.unpack(value).key_id)
        case (kind, _):
            return (kind, marker)


def _keep_adapters(adapters: Adapters, changes: Sequence[Change]) -> None:
    """Keep the adapters that the changes name, before a segment has these."""
    for change in changes:
        digest = journal_keys.revision_digest(change[1]) if change[0] == PUT else None
        if digest is not None:
            adapters.keep(digest)


def _pack_waiting(changes: Sequence[Change], *, with_keys: bool) -> bytes:
    return bytes((with_keys,)) + pack_changes(changes)


def unpack_waiting(packed: bytes) -> tuple[Sequence[Change], bool]:
    """Return the changes of a row of ``!shipping``, and whether data keys were changed with them."""
    return unpack_changes(packed[1:]), bool(packed[0])

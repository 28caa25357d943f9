"""Makes the rows of a shard those of its journal: of a snapshot, of segments, of the newest data keys."""

from collections.abc import Iterable, Mapping, Sequence

from populace.storage.journal.segment import Commit
from populace.storage.journal.shipping import JournalRow, put_row
from populace.storage.journal.snapshot import Row, Snapshot
from populace.storage.records import erasures, journal_keys, keys
from populace.storage.records.records import DataKeyRecord, IdentityRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.shards.rows import Writer
from populace.storage.shards.shard import Shard

BYTES_A_COMMIT = 16 * 2**20
"""Rows of a snapshot that one transaction writes: LMDB keeps its changes in memory."""


def apply_commits(shard: Shard, commits: Sequence[Commit], then: JournalRow | None = None) -> None:
    """Make the changes of commits of a journal in one transaction, and note how the shard stands ``then``."""

    def replay(writer: Writer) -> None:
        for one in commits:
            writer.apply(one.changes)
        if then is not None:
            put_row(writer, then)

    shard.apply(replay)


def put_snapshot(shard: Shard, snapshot: Snapshot) -> None:
    """Replace the shard's rows by those of a snapshot. Raises ``JournalDamaged`` if that is not whole."""
    shard.apply(_clear)
    waiting: list[Row] = []
    size = 0

    def put(writer: Writer) -> None:
        for key, value in waiting:
            writer.put(key, value)

    for row in snapshot.rows:
        waiting.append(row)
        size += len(row[0]) + len(row[1])
        if size >= BYTES_A_COMMIT:
            shard.apply(put)
            waiting.clear()
            size = 0
    shard.apply(put)


def _clear(writer: Writer) -> None:
    """Remove all rows but those of the shard itself."""
    for prefix in {key[:1] for key, _ in _firsts(writer)}:
        writer.delete_prefix(prefix)
    writer.delete_prefix(journal_keys.all_shipping())
    writer.delete_prefix(journal_keys.all_key_ids())


def _firsts(txn: ReadTransaction) -> Iterable[Row]:
    """Walk the first row of each kind."""
    for kind in range(256):
        prefix = bytes((kind,))
        if not journal_keys.is_of_shard(prefix):
            yield from txn.scan(prefix, limit=1)


def take_keys(shard: Shard, wrapped: Mapping[bytes, bytes], *, now_ms: int) -> None:
    """Make the journal's data keys those of the shard, and remove the models that have none: the erased.

    A name that was erased and is used again has another key than its rows of before were sealed with; these
    are removed, too.
    """
    ids = {key: DataKeyRecord.unpack(value).key_id for key, value in wrapped.items()}

    def take(writer: Writer) -> None:
        marked = {
            journal_keys.data_key_of(key): value for key, value in writer.scan(journal_keys.all_key_ids())
        }
        had = {key for key, _ in writer.scan(keys.all_data_keys())}
        writer.delete_prefix(journal_keys.all_key_ids())
        writer.delete_prefix(keys.all_data_keys())
        kept: set[bytes] = set()
        erased = 0
        for _, data in list(writer.scan(keys.all_identities())):
            identity = IdentityRecord.unpack(data)
            key = keys.data_key(identity.tenant, identity.name)
            if key in ids and marked.get(key, ids[key]) == ids[key]:
                kept.add(key)
                continue
            erased += 1
            for prefix in keys.model_prefixes(identity.tenant, identity.name):
                writer.delete_prefix(prefix)
        for key in kept:
            writer.put(key, wrapped[key])
        if erased or had - kept:
            # Their bytes are in free pages until a compaction.
            erasures.note_erasure(writer, (), now_ms=now_ms)

    shard.apply(take)


def has_models(txn: ReadTransaction) -> bool:
    """Return whether a shard has rows of models, or of anything else that a journal has."""
    return any(True for _ in _firsts(txn))

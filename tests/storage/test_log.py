"""The old end of a log leaves, and what is left still proves and adds up to the same."""

from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import ModelNotFound, RecordInvalid
from populace.storage.records.records import (
    HeadRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    SnapshotRecord,
)
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger, log
from populace.storage.shards.shard import Shard
from tests.storage.samples import TENANT, commit, create_model, identity, interaction

T = TypeVar("T")

TURNS = 6
EXPIRY_MS = 100


def run(shard: Shard, operation: Callable[[WriteTransaction], T]) -> T:
    [outcome] = shard.write([operation])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.fixture
def ada(shard: Shard) -> Shard:
    """A model of six turns whose operation ids expire one millisecond after the other from 100 on."""
    run(shard, lambda txn: create_model(txn, identity()))
    for position in range(TURNS):
        take(shard, position)
    return shard


def take(shard: Shard, position: int, *, now_ms: int = 0) -> InteractionRecord:
    expires_ms = EXPIRY_MS + position
    return run(
        shard, lambda txn: commit(txn, position, f"op-{position}", now_ms=now_ms, expires_ms=expires_ms)
    )


def prune(shard: Shard, now_ms: int = 1000, limit: int | None = None) -> HeadRecord:
    return run(shard, lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=now_ms, limit=limit))


def compact(shard: Shard, keep_from: int, memory: MemoryRecord | None = None) -> HeadRecord:
    return run(shard, lambda txn: log.compact_log(txn, TENANT, "ada", keep_from, memory=memory))


def rows(shard: Shard, prefix: bytes) -> int:
    with shard.read() as txn:
        return sum(1 for _ in txn.scan(prefix))


def test_what_is_below_leaves_and_reading_begins_at_what_is_kept(ada: Shard) -> None:
    with ada.read() as txn:
        before = ledger.read_log(txn, TENANT, "ada")
    prune(ada)

    head = compact(ada, 4)

    with ada.read() as txn:
        assert ledger.read_log(txn, TENANT, "ada") == before[4:]
        assert ledger.read_log(txn, TENANT, "ada", start=2, limit=1) == before[4:5]
        assert ledger.read_log(txn, TENANT, "ada", start=5) == before[5:]
    assert (head.log_start, head.log_position) == (4, TURNS)
    assert head.log_bytes == sum(len(record.pack()) for record in before[4:])
    assert rows(ada, keys.interactions(TENANT, "ada")) == 2


def test_the_chain_goes_on_over_the_cut(ada: Shard) -> None:
    with ada.read() as txn:
        before = ledger.read_log(txn, TENANT, "ada")
    prune(ada)

    head = compact(ada, 4)
    added = take(ada, TURNS)

    with ada.read() as txn:
        snapshot = log.read_snapshot(txn, TENANT, "ada")
    assert head.start_chain == ledger.chain_digest(before[3].pack()) == before[4].previous
    assert snapshot == SnapshotRecord(position=4, chain=head.start_chain, memory_version=0, memory=None)
    assert added.previous == ledger.chain_digest(before[5].pack())
    ada.check_integrity()


def test_a_log_can_be_cut_again_and_to_its_end_and_goes_on(ada: Shard) -> None:
    prune(ada)

    compact(ada, 2)
    head = compact(ada, TURNS)
    added = take(ada, TURNS)

    assert (head.log_start, head.log_bytes, head.start_chain) == (TURNS, 0, head.chain)
    assert added.previous == head.start_chain
    assert compact(ada, TURNS).log_start == TURNS
    with ada.read() as txn:
        assert ledger.read_log(txn, TENANT, "ada") == [added]


def test_expired_operation_ids_are_forgotten_up_to_the_first_that_is_not(ada: Shard) -> None:
    head = prune(ada, now_ms=EXPIRY_MS + 2)

    assert head.operations_start == 3
    assert rows(ada, keys.operations(TENANT, "ada")) == 3
    with ada.read() as txn:
        found = ledger.find_operation(txn, TENANT, "ada", "op-3", now_ms=EXPIRY_MS + 2)
    assert found is not None
    assert prune(ada, limit=2).operations_start == 5


def test_an_id_that_was_used_again_belongs_to_its_later_turn(ada: Shard) -> None:
    run(ada, lambda txn: commit(txn, TURNS, "op-0", now_ms=EXPIRY_MS, expires_ms=5000))

    head = prune(ada, now_ms=1000)

    assert head.operations_start == TURNS
    with ada.read() as txn:
        found = ledger.find_operation(txn, TENANT, "ada", "op-0", now_ms=1000)
    assert found is not None
    assert found[1].position == TURNS


def test_an_operation_id_that_is_kept_pins_its_interaction(ada: Shard) -> None:
    prune(ada, now_ms=EXPIRY_MS + 2)

    with pytest.raises(AssertionError):
        compact(ada, 4)
    compact(ada, 3)

    with ada.read() as txn:
        found = ledger.find_operation(txn, TENANT, "ada", "op-3", now_ms=EXPIRY_MS + 2)
    assert found is not None
    assert found[1].position == 3


@pytest.mark.parametrize("keep_from", [1, TURNS + 1])
def test_a_cut_outside_the_log_changes_nothing(ada: Shard, keep_from: int) -> None:
    prune(ada)
    head = compact(ada, 2)

    with pytest.raises(AssertionError):
        compact(ada, keep_from)

    with ada.read() as txn:
        assert ledger.read_head(txn, TENANT, "ada") == head


def test_a_model_that_does_not_exist_has_no_log_to_cut(shard: Shard) -> None:
    with pytest.raises(ModelNotFound):
        prune(shard)
    with pytest.raises(ModelNotFound):
        compact(shard, 0)


def test_deleting_removes_the_snapshot_too(ada: Shard) -> None:
    prune(ada)
    compact(ada, 4)

    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=0))

    with ada.read() as txn:
        left = {key[:1] for key, _ in txn.scan(b"")}
    assert left == {b"!", b"e"}


def test_the_log_of_an_older_release_is_counted_and_cut(ada: Shard) -> None:
    with ada.read() as txn:
        head = ledger.read_head(txn, TENANT, "ada")
        sizes = [len(record.pack()) for record in ledger.read_log(txn, TENANT, "ada")]
    older = head.model_copy(update={"log_bytes": None})
    run(ada, lambda txn: txn.put(keys.head(TENANT, "ada"), older.pack()))
    take(ada, TURNS)

    assert prune(ada, now_ms=EXPIRY_MS + TURNS - 1).log_bytes == sum(sizes) + sizes[-1]
    assert compact(ada, 4).log_bytes == sum(sizes[4:]) + sizes[-1]


def test_a_log_that_is_damaged_at_the_cut_is_left_as_it_is(ada: Shard) -> None:
    prune(ada)
    key = keys.interaction(TENANT, "ada", 3)
    with ada.read() as txn:
        data = txn.get(key)
    assert data is not None
    forged = interaction(3, "op-3", "Another reply.").pack()

    run(ada, lambda txn: txn.put(key, forged))
    with pytest.raises(RecordInvalid, match="chain"):
        compact(ada, 4)
    run(ada, lambda txn: txn.delete(key))
    with pytest.raises(RecordInvalid, match="gap"):
        compact(ada, 4)

    assert rows(ada, keys.interactions(TENANT, "ada")) == TURNS - 1
    run(ada, lambda txn: txn.put(key, data))


@pytest.mark.parametrize(
    "broken",
    [
        {"log_start": 3},
        {"log_start": 5},
        {"start_chain": b"another"},
        {"log_bytes": 1},
        {"operations_start": 3},
        {"operations_start": TURNS + 1},
    ],
)
def test_a_head_that_tells_another_story_does_not_pass(ada: Shard, broken: dict[str, object]) -> None:
    prune(ada, now_ms=EXPIRY_MS + 4)
    head = compact(ada, 4)
    ada.check_integrity()

    run(ada, lambda txn: txn.put(keys.head(TENANT, "ada"), head.model_copy(update=broken).pack()))
    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: txn.put(keys.head(TENANT, "ada"), head.pack()))


def test_a_snapshot_of_another_state_or_none_does_not_pass(ada: Shard) -> None:
    prune(ada)
    compact(ada, 4)
    key = keys.snapshot(TENANT, "ada")
    with ada.read() as txn:
        snapshot = log.read_snapshot(txn, TENANT, "ada")
    assert snapshot is not None

    for broken in ({"position": 3}, {"chain": b""}, {"memory_version": 1, "memory": b"m"}, {"memory": b"m"}):
        data = snapshot.model_copy(update=broken).pack()
        run(ada, lambda txn, data=data: txn.put(key, data))
        with pytest.raises(AssertionError):
            ada.check_integrity()
    run(ada, lambda txn: txn.delete(key))
    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: txn.put(key, snapshot.pack()))


def test_an_operation_row_of_a_turn_below_the_kept_ones_does_not_pass(ada: Shard) -> None:
    prune(ada)
    row = OperationRecord(body_hash=b"", position=0, expires_ms=1)
    key = keys.operation(TENANT, "ada", "op-0")

    run(ada, lambda txn: txn.put(key, row.pack()))
    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: txn.delete(key))


class Remembering:
    """A model whose memory state is a fold over its replies, one version for each turn."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        run(shard, lambda txn: create_model(txn, identity()))

    def take(self, position: int) -> None:
        state = self.state_after(position)
        record = interaction(position, f"op-{position}", f"reply {position}").model_copy(
            update={"memory_version": position}
        )
        memory = MemoryRecord(version=position + 1, payload=fold(state, record))
        run(
            self.shard,
            lambda txn: ledger.commit_turn(
                txn,
                TENANT,
                "ada",
                record,
                body_hash=b"",
                expected_position=position,
                expires_ms=1,
                now_ms=0,
                memory=memory,
            ),
        )

    def state_after(self, position: int) -> bytes:
        """Replay what the store has: the snapshot, and the interactions kept after it."""
        with self.shard.read() as txn:
            snapshot = log.read_snapshot(txn, TENANT, "ada")
            kept = ledger.read_log(txn, TENANT, "ada")
        state = b"" if snapshot is None or snapshot.memory is None else snapshot.memory
        for record in kept:
            if record.position < position:
                state = fold(state, record)
        return state

    def compact(self, keep_from: int) -> None:
        memory = MemoryRecord(version=keep_from, payload=self.state_after(keep_from))
        compact(self.shard, keep_from, memory)


def fold(state: bytes, record: InteractionRecord) -> bytes:
    return sha256(state + record.reply.encode()).digest()


@pytest.fixture
def remembering(shard: Shard) -> Remembering:
    model = Remembering(shard)
    for position in range(TURNS):
        model.take(position)
    return model


def test_replaying_what_is_kept_on_the_snapshot_gives_the_state_of_the_model(
    remembering: Remembering, shard: Shard
) -> None:
    prune(shard)

    for keep_from in (2, 4, TURNS):
        remembering.compact(keep_from)
        remembering.shard.check_integrity()
        with shard.read() as txn:
            model = ledger.read_model(txn, TENANT, "ada")
        assert model is not None
        assert model.memory == MemoryRecord(version=TURNS, payload=remembering.state_after(TURNS))
    remembering.take(TURNS)

    expected = b""
    for position in range(TURNS + 1):
        expected = fold(expected, interaction(position, "", f"reply {position}"))
    assert remembering.state_after(TURNS + 1) == expected


@pytest.mark.parametrize("version", [None, 1, 3])
def test_a_memory_state_of_another_position_is_not_taken_for_the_one_at_the_cut(
    remembering: Remembering, shard: Shard, version: int | None
) -> None:
    prune(shard)

    with pytest.raises(AssertionError):
        compact(shard, 2, None if version is None else MemoryRecord(version=version, payload=b"m"))

    assert rows(shard, keys.interactions(TENANT, "ada")) == TURNS


def test_a_model_is_cut_where_its_memory_state_is_stored(remembering: Remembering, shard: Shard) -> None:
    prune(shard)

    def cut_at(position: int) -> tuple[int, MemoryRecord | None]:
        with shard.read() as txn:
            model = ledger.read_model(txn, TENANT, "ada")
            assert model is not None
            return log.stored_memory(txn, model, position)

    assert cut_at(4) == (0, None)
    remembering.compact(2)
    assert cut_at(4) == (2, MemoryRecord(version=2, payload=remembering.state_after(2)))
    assert cut_at(TURNS) == (TURNS, MemoryRecord(version=TURNS, payload=remembering.state_after(TURNS)))


def test_a_model_without_memory_is_cut_anywhere(ada: Shard) -> None:
    with ada.read() as txn:
        model = ledger.read_model(txn, TENANT, "ada")
        assert model is not None
        assert [log.stored_memory(txn, model, position) for position in (0, 3, TURNS)] == [
            (0, None),
            (3, None),
            (TURNS, None),
        ]

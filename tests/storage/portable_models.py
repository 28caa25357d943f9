"""Models to carry from one store to another: young, old, and as earlier releases left them."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from populace.storage.records import keys
from populace.storage.records.master_key import MasterKey
from populace.storage.records.records import (
    DataKeyRecord,
    FeedbackRecord,
    InteractionRecord,
    MemoryRecord,
    RevisionRecord,
    SuiteRecord,
)
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import feedback, forgetting, ledger, log, portable, suites
from populace.storage.rows.forgetting import GivenUp, LogWithout
from populace.storage.rows.portable import PortableModel
from populace.storage.shards.shard import Shard
from tests.storage.samples import (
    FOREVER_MS,
    SEALING,
    TENANT,
    create_model,
    digest,
    identity,
    interaction,
    publish_revision,
    revision,
)

T = TypeVar("T")


class Maker(Protocol):
    """Makes the model ``ada`` in a shard, whose sealing it is told."""

    def __call__(self, shard: Shard, *, sealing: Sealing = ...) -> None: ...


OTHER_SEALING = Sealing(MasterKey(bytes(range(32, 64))))
TURNS = 6


def run(shard: Shard, operation: Callable[[WriteTransaction], T]) -> T:
    [outcome] = shard.write([operation])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def fresh(shard: Shard, *, sealing: Sealing = SEALING) -> None:
    """A model that was created and nothing else."""
    run(shard, lambda txn: create_model(txn, identity(), sealing=sealing))


def talkative(shard: Shard, *, sealing: Sealing = SEALING) -> None:
    """Turns in two conversations, in scripts and with control characters, and operation ids."""
    fresh(shard, sealing=sealing)
    for position, reply in enumerate(("Hello.", "", "Zażółć 🙂 \x00\x1f\n\r\u2028", '"\\', "x" * 70_000)):
        record = interaction(position, f"op {position} \u00e9").model_copy(
            update={
                "reply": reply,
                "messages": (("system", "s"), ("user", reply)),
                "conversation": None if position % 2 else "main",
                "history_turns": position,
            }
        )
        take(shard, position, record=record)


def with_everything(
    shard: Shard, revisions: Sequence[RevisionRecord] = (), *, sealing: Sealing = SEALING
) -> None:
    """A compacted log with its snapshot, feedback, a memory, three revisions, three aliases and a cursor."""
    first, *others = revisions or (revision("one"), child("two"), child("three"))
    run(shard, lambda txn: create_model(txn, identity(), first, sealing=sealing))
    for position in range(TURNS):
        memory = MemoryRecord(version=position + 1, payload=memory_after(position))
        take(shard, position, memory=memory, expires_ms=100 if position < 4 else FOREVER_MS)
    for number, record in enumerate(others):
        publish(shard, record, f"alias-{number}")
    for position in (1, 4, 4, 5):
        think(shard, position, correction="Zażółć 🙂 \n" if position == 5 else None)
    run(shard, lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=1000))
    run(shard, lambda txn: compact_at(txn, 3))
    with shard.read() as txn:
        head = ledger.read_head(txn, TENANT, "ada")
    trained = head.model_copy(update={"cursor": 2})
    run(shard, lambda txn: txn.put(keys.head(TENANT, "ada"), trained.pack()))


def memory_after(turn: int) -> bytes:
    """A packed memory without a state, which knows ``turn + 1`` turns."""
    return b"PMM1" + bytes(4) + b"".join(number.to_bytes(8, "big") for number in range(turn + 1))


def wholly_compacted(shard: Shard, *, sealing: Sealing = SEALING) -> None:
    """All of the log was dropped and only its snapshot is left."""
    fresh(shard, sealing=sealing)
    for position in range(3):
        take(shard, position, expires_ms=100)
    run(shard, lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=1000))
    run(shard, lambda txn: log.compact_log(txn, TENANT, "ada", 3, memory=None))


def forgetful(shard: Shard, *, sealing: Sealing = SEALING) -> None:
    """A model that had one of its turns forgotten."""
    talkative(shard, sealing=sealing)
    run(shard, lambda txn: forget(txn, 1))


def forget(txn: WriteTransaction, *positions: int) -> GivenUp:
    """Forget turns, of which no other has anything."""
    left: dict[int, InteractionRecord] = {}
    turns = tuple(position.to_bytes(8, "big") for position in positions)
    for position, turn in zip(positions, turns, strict=True):
        record = ledger.read_interaction(txn, TENANT, "ada", position)
        assert record is not None
        operation = keys.operation_hash(record.operation)
        left[position] = forgetting.redacted(record, turn=turn, operation=operation, now_ms=7)
    end = ledger.read_head(txn, TENANT, "ada").log_position
    return forgetting.forget_turns(
        txn, TENANT, "ada", LogWithout(end, frozenset(positions), left, turns), now_ms=7
    )


def with_suite(shard: Shard, *, sealing: Sealing = SEALING) -> None:
    """A model whose person asks it something that it must always know."""
    fresh(shard, sealing=sealing)
    questions = (("Where do I live?", "Łódź", "contains", None), ("3 + 4?", "7", "number", "Be brief."))
    run(shard, lambda txn: suites.put_suite(txn, TENANT, "ada", SuiteRecord(questions=questions)))


MAKERS: tuple[Maker, ...] = (fresh, talkative, with_everything, wholly_compacted, forgetful, with_suite)


def take(
    shard: Shard,
    position: int,
    *,
    record: InteractionRecord | None = None,
    memory: MemoryRecord | None = None,
    expires_ms: int = FOREVER_MS,
) -> None:
    version = 0 if memory is None else memory.version - 1
    said = interaction(position, f"op-{position}").model_copy(update={"memory_version": version})
    run(
        shard,
        lambda txn: ledger.commit_turn(
            txn,
            TENANT,
            "ada",
            record or said,
            body_hash=bytes([position]) * 32,
            expected_position=position,
            expires_ms=expires_ms,
            now_ms=0,
            memory=memory,
        ),
    )


def think(shard: Shard, position: int, *, correction: str | None) -> None:
    """Give feedback, each time another one."""
    with shard.read() as txn:
        given = sum(1 for _ in txn.scan(keys.all_feedback(TENANT, "ada")))
    record = FeedbackRecord(
        position=position,
        operation=f"key {given} \u00e9",
        body_hash=bytes(32),
        created_ms=5,
        thumb=given % 2 == 0,
        rating=0.25,
        correction=correction,
        reward=-1e300,
    )
    run(shard, lambda txn: feedback.give_feedback(txn, TENANT, "ada", record))


def publish(shard: Shard, record: RevisionRecord, alias: str) -> None:
    run(shard, lambda txn: publish_revision(txn, TENANT, "ada", record, alias))


def child(seed: str) -> RevisionRecord:
    return revision(seed, created_ms=7).model_copy(update={"parent": digest("one"), "scores": {"π": 0.1}})


def compact_at(txn: WriteTransaction, keep_from: int) -> None:
    memory = MemoryRecord(version=keep_from, payload=memory_after(keep_from - 1))
    log.compact_log(txn, TENANT, "ada", keep_from, memory=memory)


def read(shard: Shard, tenant: str = TENANT, name: str = "ada") -> PortableModel:
    with shard.read() as txn:
        return portable.read_portable(txn, tenant, name)


def bring_in(
    shard: Shard,
    model: PortableModel,
    tenant: str = TENANT,
    name: str = "ada",
    *,
    sealing: Sealing = OTHER_SEALING,
) -> None:
    """Import the model; ``sealing`` is that of the shard."""
    rows = portable.portable_rows(model, tenant, name)
    run(shard, lambda txn: portable.write_portable(txn, tenant, name, sealing.new_data_key(), rows))


def plain_rows(txn: ReadTransaction, tenant: str = TENANT, name: str = "ada") -> dict[bytes, bytes]:
    """All rows of the model but its data key, without the names in their keys."""
    return {
        prefix[:1] + key[len(prefix) :]: value
        for prefix in keys.model_prefixes(tenant, name)
        if prefix != keys.data_key(tenant, name)
        for key, value in txn.scan(prefix)
    }


def data_key_of(shard: Shard, tenant: str = TENANT, name: str = "ada") -> DataKeyRecord:
    with shard.read() as txn:
        data = txn.get(keys.data_key(tenant, name))
    assert data is not None
    return DataKeyRecord.unpack(data)

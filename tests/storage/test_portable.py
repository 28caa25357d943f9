"""A model leaves one store and enters another bit for bit, or not at all."""

import itertools
import shutil
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from populace.storage.records.errors import ArchiveInvalid, ModelExists, ModelNotFound
from populace.storage.records.record import Record
from populace.storage.records.records import (
    FeedbackRecord,
    HeadRecord,
    IdentityRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    RevisionRecord,
    SnapshotRecord,
    SuiteRecord,
)
from populace.storage.rows import integrity, ledger, portable
from populace.storage.rows.portable import PortableModel, RowsInMemory
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.storage.portable_models import (
    MAKERS,
    OTHER_SEALING,
    Maker,
    bring_in,
    data_key_of,
    forgetful,
    plain_rows,
    read,
    run,
    talkative,
    with_everything,
)
from tests.storage.samples import SEALING, TENANT, commit, digest, identity
from tests.storage.test_schemas import STORES

Change = Callable[[PortableModel], PortableModel]

NAMES = ("fresh", "talkative", "with everything", "wholly compacted", "forgetful", "with suite")
NUMBERS = itertools.count()


@pytest.fixture
def other(tmp_path: Path) -> Generator[Shard]:
    """A shard of another store, under another master key."""
    opened = Shard.open(tmp_path / "other", 0, 1, "the test", sealing=OTHER_SEALING, map_bytes=1 << 26)
    yield opened
    opened.check_integrity()
    opened.close()


@pytest.fixture
def sound(shard: Shard) -> PortableModel:
    with_everything(shard)
    return read(shard)


def changed(kind: type[Record], data: bytes | None, **fields: Any) -> bytes:
    assert data is not None
    return kind.unpack(data).model_copy(update=fields).pack()


def with_head(model: PortableModel, **fields: Any) -> PortableModel:
    return model._replace(head=changed(HeadRecord, model.head, **fields))


def with_turn(model: PortableModel, at: int, **fields: Any) -> PortableModel:
    turns = list(model.interactions)
    turns[at] = changed(InteractionRecord, turns[at], **fields)
    return model._replace(interactions=tuple(turns))


def with_feedback(model: PortableModel, **fields: Any) -> PortableModel:
    first, *others = model.feedback
    return model._replace(feedback=(changed(FeedbackRecord, first, **fields), *others))


def with_operation(model: PortableModel, **fields: Any) -> PortableModel:
    first, *others = model.operations
    return model._replace(operations=(changed(OperationRecord, first, **fields), *others))


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_every_row_of_a_model_is_the_same_in_the_other_store(shard: Shard, other: Shard, make: Maker) -> None:
    make(shard)

    bring_in(other, read(shard))

    with shard.read() as source, other.read() as target:
        assert plain_rows(target) == plain_rows(source)
    assert read(other) == read(shard)
    assert data_key_of(other).key_id != data_key_of(shard).key_id


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_under_another_name_only_the_identity_differs(shard: Shard, make: Maker) -> None:
    make(shard)
    with shard.read() as txn:
        before = plain_rows(txn)

    bring_in(shard, read(shard), "globex", "zoe", sealing=SEALING)

    with shard.read() as txn:
        assert plain_rows(txn) == before
        copy = plain_rows(txn, "globex", "zoe")
    assert IdentityRecord.unpack(copy.pop(b"i")) == identity("zoe", "globex")
    assert before.pop(b"i") == identity().pack()
    assert copy == before


@pytest.mark.parametrize("schema", [1, 2])
def test_rows_of_an_older_release_keep_their_bytes(tmp_path: Path, other: Shard, schema: int) -> None:
    store = Store.create_or_open(shutil.copytree(STORES / f"schema-{schema}", tmp_path / "store"))
    old = store.open_shard(0, "the test", map_bytes=1 << 26)

    bring_in(other, read(old))

    with old.read() as source, other.read() as target:
        before, after = plain_rows(source), plain_rows(target)
    assert IdentityRecord.unpack(after.pop(b"i")) == IdentityRecord.unpack(before.pop(b"i"))
    assert after == before
    old.close()


def test_the_imported_model_goes_on_where_the_exported_one_was(shard: Shard, other: Shard) -> None:
    talkative(shard)
    bring_in(other, read(shard))
    position = ledger_position(other)

    made = run(other, lambda txn: commit(txn, position, "op-next"))
    again = run(other, lambda txn: commit(txn, 0, "op 0 \u00e9", body=bytes(32)))

    assert made.position == position
    assert again.position == 0, "a retry of an operation from before finds its first reply"
    assert ledger_position(shard) == position


def ledger_position(shard: Shard) -> int:
    with shard.read() as txn:
        return ledger.read_head(txn, TENANT, "ada").log_position


def test_what_comes_in_is_as_old_as_its_stay_and_nothing_else_of_it_changes(sound: PortableModel) -> None:
    rows = portable.portable_rows(sound, TENANT, "zoe")

    timed = portable.timed_here(rows, TENANT, "zoe", now_ms=7, expires_ms=9)

    laid_out = RowsInMemory(timed)
    integrity.check_contents(laid_out, TENANT, "zoe")
    kinds = {key[:1] for key in rows if timed[key] != rows[key]}
    assert kinds == {b"i", b"o"}
    assert timed.keys() == rows.keys()
    model = ledger.read_model(laid_out, TENANT, "zoe")
    assert model is not None
    assert model.identity.arrived == (6, 7)
    expiries = [OperationRecord.unpack(value).expires_ms for key, value in timed.items() if key[:1] == b"o"]
    assert set(expiries) == {9}
    assert len(expiries) == len(sound.operations)


def test_a_name_that_is_taken_is_left_as_it_is(shard: Shard, sound: PortableModel) -> None:
    with shard.read() as txn:
        before = list(txn.scan(b""))

    with pytest.raises(ModelExists):
        bring_in(shard, sound, sealing=SEALING)

    with shard.read() as txn:
        assert list(txn.scan(b"")) == before


@pytest.mark.parametrize("name", ["nobody", "Ada", "", "a\0b"])
def test_a_model_that_is_not_there_is_not_exported(shard: Shard, name: str) -> None:
    with pytest.raises(ModelNotFound):
        read(shard, name=name)


def test_a_turn_of_instructions_alone_is_refused(sound: PortableModel) -> None:
    def with_instructions(count: int) -> PortableModel:
        newest = changed(InteractionRecord, sound.interactions[-1], instructions=count)
        told = sound._replace(interactions=(*sound.interactions[:-1], newest))
        return with_head(told, chain=ledger.chain_digest(newest), log_bytes=None)

    portable.portable_rows(with_instructions(0), TENANT, "zoe")
    for count in (1, 7):
        with pytest.raises(ArchiveInvalid, match=str(count)):
            portable.portable_rows(with_instructions(count), TENANT, "zoe")


BROKEN: dict[str, Change] = {
    "a turn is missing": lambda model: model._replace(interactions=model.interactions[1:]),
    "the newest turn is missing": lambda model: model._replace(interactions=model.interactions[:-1]),
    "a turn is there twice": lambda model: model._replace(
        interactions=(*model.interactions, model.interactions[-1])
    ),
    "no turns": lambda model: model._replace(interactions=()),
    "a reply was changed": lambda model: with_turn(model, 0, reply="Something else."),
    "the newest reply was changed": lambda model: with_turn(model, -1, reply="Something else."),
    "the chain was cut": lambda model: with_turn(model, 1, previous=b"x" * 16),
    "a position is taken": lambda model: with_turn(model, 1, position=3),
    "a position is beyond keys": lambda model: with_turn(model, 1, position=2**63),
    "a position is negative": lambda model: with_turn(model, 1, position=-1),
    "a time is beyond dates": lambda model: with_turn(model, 1, created_ms=2**60),
    "the head is ahead": lambda model: with_head(model, log_position=9),
    "the head is behind": lambda model: with_head(model, log_position=5),
    "the head has another chain": lambda model: with_head(model, chain=b"x" * 16),
    "the cursor is ahead": lambda model: with_head(model, cursor=7),
    "the cursor is negative": lambda model: with_head(model, cursor=-1),
    "the bytes are counted wrongly": lambda model: with_head(model, log_bytes=1),
    "the head knows another memory": lambda model: with_head(model, memory_version=5),
    "operations begin after the log": lambda model: with_head(model, operations_start=9),
    "the head is no record": lambda model: model._replace(head=b"\xc1"),
    "the head is a newer record": lambda model: model._replace(head=b"\x92\x02\x80"),
    "the memory is missing": lambda model: model._replace(memory=None),
    "the memory is another one": lambda model: model._replace(
        memory=changed(MemoryRecord, model.memory, version=1)
    ),
    "the snapshot is missing": lambda model: model._replace(snapshot=None),
    "the snapshot is of elsewhere": lambda model: model._replace(
        snapshot=changed(SnapshotRecord, model.snapshot, position=2)
    ),
    "the snapshot has no memory": lambda model: model._replace(
        snapshot=changed(SnapshotRecord, model.snapshot, memory=None)
    ),
    "an alias names nothing": lambda model: model._replace(aliases={"latest": digest("nothing")}),
    "an alias names no digest": lambda model: model._replace(aliases={"latest": "ż"}),
    "an alias has a forbidden name": lambda model: model._replace(aliases={"../x": digest("one")}),
    "an alias reads as a digest": lambda model: model._replace(aliases={"0" * 64: digest("one")}),
    "a revision is missing": lambda model: model._replace(revisions=model.revisions[:2]),
    "a revision is there twice": lambda model: model._replace(
        revisions=(*model.revisions, model.revisions[0])
    ),
    "a revision has no digest": lambda model: model._replace(
        revisions=(*model.revisions, changed(RevisionRecord, model.revisions[0], digest="../../x"))
    ),
    "an operation names no turn": lambda model: with_operation(model, position=17),
    "an operation names a turn whose id is free again": lambda model: with_operation(model, position=3),
    "an operation names a turn before the log": lambda model: with_operation(model, position=0),
    "two operations are of one turn": lambda model: model._replace(
        operations=(*model.operations, model.operations[0])
    ),
    "feedback is on a turn before the log": lambda model: with_feedback(model, position=2),
    "feedback is on a turn to come": lambda model: with_feedback(model, position=6),
    "feedback is on a turn beyond keys": lambda model: with_feedback(model, position=2**63),
    "feedback is there twice": lambda model: model._replace(feedback=(*model.feedback, model.feedback[0])),
    "feedback is missing": lambda model: model._replace(feedback=model.feedback[1:]),
    "feedback says nothing": lambda model: with_feedback(
        model, thumb=None, rating=None, correction=None, reward=None
    ),
    "a rating is out of its range": lambda model: with_feedback(model, rating=1.5),
    "a rating is no number": lambda model: with_feedback(model, rating=float("nan")),
    "a reward is no number": lambda model: with_feedback(model, reward=float("inf")),
    "its suite is no record": lambda model: model._replace(suite=b"\xc1"),
    "its suite has no question": lambda model: model._replace(suite=SuiteRecord(questions=()).pack()),
    "the model is from before time": lambda model: model._replace(created_ms=-1),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_model_that_contradicts_itself_is_refused(sound: PortableModel, change: Change) -> None:
    portable.portable_rows(sound, TENANT, "zoe")

    with pytest.raises(ArchiveInvalid):
        portable.portable_rows(change(sound), TENANT, "zoe")


BADLY_FORGOTTEN: dict[str, Change] = {
    "a forgotten turn has words": lambda model: with_turn(model, 1, reply="I was told."),
    "a forgotten turn has its length": lambda model: with_turn(model, 1, prompt_tokens=5),
    "a forgotten turn may come back": lambda model: model._replace(forgotten=None),
    "a forgotten turn is another one": lambda model: with_turn(model, 1, forgotten=(7, b"x" * 8, b"h" * 16)),
    "no operation has its hash": lambda model: with_turn(model, 1, forgotten=(7, b"\0" * 7 + b"\1", b"")),
    "what was forgotten is no record": lambda model: model._replace(forgotten=b"\xc1"),
}


@pytest.mark.parametrize("change", BADLY_FORGOTTEN.values(), ids=BADLY_FORGOTTEN)
def test_a_model_that_forgot_badly_is_refused(shard: Shard, change: Change) -> None:
    forgetful(shard)
    model = read(shard)
    portable.portable_rows(model, TENANT, "zoe")

    with pytest.raises(ArchiveInvalid, match=r"forgotten|no operation has the hash|the chain"):
        portable.portable_rows(change(model), TENANT, "zoe")


@pytest.mark.parametrize(("position", "is_sound"), [(-1, False), (0, True), (4, True), (5, False)])
def test_a_turn_was_told_of_earlier_ones_only_dropped_or_not(
    sound: PortableModel, position: int, is_sound: bool
) -> None:
    *others, last = sound.interactions
    told = changed(InteractionRecord, last, retrieved=(position,))
    head = HeadRecord.unpack(sound.head)
    assert head.log_bytes is not None
    counted = {"chain": ledger.chain_digest(told), "log_bytes": head.log_bytes + len(told) - len(last)}
    model = with_head(sound._replace(interactions=(*others, told)), **counted)

    with nullcontext() if is_sound else pytest.raises(ArchiveInvalid):
        portable.portable_rows(model, TENANT, "zoe")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_let_in_keeps_every_law(sound: PortableModel, other: Shard, data: st.DataObject) -> None:
    number = st.integers(-1, 8)
    fields = st.fixed_dictionaries(
        {},
        optional={
            "cursor": number,
            "log_start": number,
            "operations_start": number,
            "log_position": number,
            "memory_version": number,
            "log_bytes": st.none() | number,
            "start_chain": st.sampled_from([b"", b"x"]),
        },
    )
    model = with_head(sound, **data.draw(fields))
    model = model._replace(
        operations=tuple(data.draw(st.lists(st.sampled_from(sound.operations), max_size=3))),
        interactions=tuple(data.draw(st.sampled_from([sound.interactions, sound.interactions[1:]]))),
        memory=data.draw(st.sampled_from([sound.memory, None])),
        snapshot=data.draw(st.sampled_from([sound.snapshot, None])),
        aliases=data.draw(
            st.dictionaries(st.sampled_from(["a", "B"]), st.sampled_from([digest("one"), "x"]))
        ),
    )
    name = f"model-{next(NUMBERS)}"

    try:
        bring_in(other, model, name=name)
    except ArchiveInvalid:
        return
    with other.read() as txn:
        integrity.check_model(txn, TENANT, name)


def test_rows_in_memory_are_read_as_those_of_a_shard(shard: Shard) -> None:
    with_everything(shard)

    with shard.read() as txn:
        rows = dict(txn.scan(b""))
        memory = RowsInMemory(rows)
        assert {key: memory.get(key) for key in rows} == rows
        assert memory.get(b"absent") is None
        for prefix in (b"", b"a", b"l", b"la", b"zz"):
            for after in (None, *list(rows)[::3], b"", b"zz"):
                for limit in (None, 0, 1, 3):
                    expected = list(txn.scan(prefix, after=after, limit=limit))
                    assert list(memory.scan(prefix, after=after, limit=limit)) == expected

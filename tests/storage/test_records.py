"""What is written is read back equal, and damaged bytes are an error and never another value."""

import contextlib
import pickle

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.storage.records import errors
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.record import RECORD_BYTES_MAX, Record
from populace.storage.records.records import (
    HeadRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    SnapshotRecord,
)
from tests.storage.samples import api_key, identity, interaction, revision

RECORDS: list[Record] = [
    identity(),
    HeadRecord(),
    HeadRecord(log_position=5, cursor=2, chain=b"\x00\xff", memory_version=5),
    revision(),
    interaction(3, "op"),
    OperationRecord(body_hash=b"h", position=0, expires_ms=2**60),
    MemoryRecord(version=2, payload=b"\x00\x01"),
    SnapshotRecord(position=4, chain=b"\xff", memory_version=0, memory=None),
    SnapshotRecord(position=4, chain=b"\xff", memory_version=4, memory=b"\x00state"),
    api_key("k"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.KIND)
def test_every_record_is_read_back_equal(record: Record) -> None:
    assert type(record).unpack(record.pack()) == record


@given(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.just("x"))),
    st.binary(max_size=16),
)
def test_any_text_is_read_back_equal(reply: str, messages: list[tuple[str, str]], previous: bytes) -> None:
    record = interaction(0, "op", reply).model_copy(
        update={"messages": tuple(messages), "previous": previous}
    )

    assert InteractionRecord.unpack(record.pack()) == record


@given(st.sampled_from(RECORDS), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_but_record_invalid(
    record: Record, place: int, change: int
) -> None:
    data = bytearray(record.pack())
    data[place % len(data)] ^= change

    with contextlib.suppress(RecordInvalid):
        type(record).unpack(bytes(data))


@given(st.sampled_from(RECORDS), st.integers(0))
def test_a_cut_record_is_invalid(record: Record, place: int) -> None:
    data = record.pack()

    with pytest.raises(RecordInvalid):
        type(record).unpack(data[: place % len(data)])
    with pytest.raises(RecordInvalid):
        type(record).unpack(data + b"\x00")


@given(st.binary(max_size=200))
def test_noise_is_invalid(data: bytes) -> None:
    with pytest.raises(RecordInvalid):
        MemoryRecord.unpack(data)


@pytest.mark.parametrize("version", [0, 2, -1, True, 1.0, "1", None])
def test_only_known_versions_are_read(version: object) -> None:
    data: bytes = msgpack.packb([version, {"version": 1, "payload": b""}])  # pyright: ignore

    with pytest.raises(RecordInvalid):
        MemoryRecord.unpack(data)


def test_a_head_of_a_release_that_kept_every_interaction_is_read() -> None:
    fields = {"log_position": 5, "cursor": 2, "chain": b"c", "memory_version": 0}
    data: bytes = msgpack.packb([1, fields])  # pyright: ignore

    head = HeadRecord.unpack(data)

    assert (head.log_start, head.log_bytes, head.start_chain, head.operations_start) == (0, None, b"", 0)


def test_a_record_that_would_not_be_read_back_is_not_packed() -> None:
    with pytest.raises(RecordInvalid):
        MemoryRecord(version=1, payload=bytes(RECORD_BYTES_MAX)).pack()
    with pytest.raises(RecordInvalid):
        MemoryRecord.unpack(bytes(RECORD_BYTES_MAX + 1))


def test_the_error_of_a_damaged_record_does_not_quote_the_conversation() -> None:
    data: bytes = msgpack.packb([1, {"reply": ["a secret"]}])  # pyright: ignore

    with pytest.raises(RecordInvalid) as caught:
        InteractionRecord.unpack(data)

    assert "secret" not in str(caught.value)
    assert "reply" in str(caught.value)


def test_a_full_queue_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.WriteQueueFull(3, 99)))

    assert (error.shard, error.waiting, str(error)) == (3, 99, str(errors.WriteQueueFull(3, 99)))

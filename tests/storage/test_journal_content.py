"""What is sealed as it has to be and is none of a journal's is refused by name, before a shard changes."""

from pathlib import Path
from typing import Any

import msgpack
import pytest

from populace.storage.journal.errors import JournalDamaged
from populace.storage.journal.replaying import apply_commits, put_snapshot
from populace.storage.journal.sealed_object import FORMAT, read_object, write_object
from populace.storage.journal.sealing import SALT_BYTES, JournalSeal
from populace.storage.journal.segment import KEY_BYTES_MAX, NO_DIGEST, Commit, Segment
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.snapshot import read_snapshot
from populace.storage.shards.shard import Shard
from tests.storage.faulty_bucket import FaultyBucket
from tests.storage.samples import SEALING, open_shard

SEAL = JournalSeal(SEALING.master_key, "store")
POSITION = (1, NO_DIGEST, 2, 2)

_msgpack: Any = msgpack


def segment(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "shard": 0,
        "number": 1,
        "epoch": 1,
        "owner": "owner",
        "written_ms": 0,
        "previous": NO_DIGEST,
        "before": 0,
        "commits": [[1, [[0, b"k", b"v"], [1, b"k"], [2, b"k"]]]],
    }
    packed: bytes = _msgpack.packb((1, *(fields | changes).values()), use_bin_type=True)
    return packed


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return open_shard(tmp_path / "shard")


def test_a_sound_segment_is_read_and_applied(shard: Shard) -> None:
    read = Segment.unpack("s", segment())

    apply_commits(shard, read.commits)

    assert read.commits == [Commit(1, ((0, b"k", b"v"), (1, b"k"), (2, b"k")))]
    assert Segment.unpack("s", read.pack()) == read
    shard.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"number": "1"},
        {"epoch": -1},
        {"written_ms": 1.5},
        {"owner": b"owner"},
        {"previous": "x"},
        {"commits": 7},
        {"commits": [7]},
        {"commits": [[1, 7]]},
        {"commits": [[1, [7]]]},
        {"commits": [[1, [()]]]},
        {"commits": [["1", ()]]},
        {"commits": [[1, [[0, b"k"]]]]},
        {"commits": [[1, [[1, b"k", b"v"]]]]},
        {"commits": [[1, [[3, b"k"]]]]},
        {"commits": [[1, [[0, "k", b"v"]]]]},
        {"commits": [[1, [[0, b"k", None]]]]},
        {"commits": [[1, [[2, b""]]]]},
        {"commits": [[1, [[1, b"k" * (KEY_BYTES_MAX + 1)]]]]},
    ],
)
def test_a_segment_that_no_shard_could_apply_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(JournalDamaged, match="it is no segment"):
        Segment.unpack("s", segment(**changes))


@pytest.mark.parametrize(
    "items",
    [
        [7],
        [[POSITION, 1], 7],
        [[POSITION, 1], [b"k"]],
        [[POSITION, 1], [b"k", b"v", b"w"]],
        [[POSITION, 1], ["k", b"v"]],
        [[POSITION, 1], [b"k", 7]],
        [[POSITION, 1], [b"k" * (KEY_BYTES_MAX + 1), b"v"]],
        [[("1", NO_DIGEST, 2, 2), 1]],
        [[(1, 7, 2, 2), 1]],
        [[POSITION, "now"]],
    ],
)
def test_a_snapshot_that_no_shard_could_take_is_refused(shard: Shard, items: list[Any]) -> None:
    bucket = FaultyBucket()
    journal = ShardJournal(bucket, SEAL, "store/shard-0000", 0, owner="a reader", now_ms=lambda: 0)
    packed = [_msgpack.packb(item, use_bin_type=True) for item in items]
    write_object(bucket, SEAL, journal.name_of("s", 1), packed)

    with pytest.raises(JournalDamaged):
        put_snapshot(shard, read_snapshot(journal, 1))

    with shard.read() as txn:
        assert [key for key, _ in txn.scan(b"k")] == []
    shard.close()


@pytest.mark.parametrize("frame", [7, [], ["chunk"], ["chunk", "text"], ["other", b"x"], [b"chunk", b"x", 1]])
def test_an_object_of_something_other_than_chunks_is_refused(frame: Any) -> None:
    bucket = FaultyBucket()
    bucket.replace("o", FORMAT + bytes(SALT_BYTES) + _msgpack.packb(frame, use_bin_type=True))
    pieces = read_object(bucket, SEAL, "o")
    assert pieces is not None

    with pytest.raises(JournalDamaged, match="other than chunks"):
        list(pieces)

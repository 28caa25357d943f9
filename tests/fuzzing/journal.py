"""Segments and snapshots of a journal, as a bucket has them: opened, and applied to a shard."""

import random
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import msgpack

from populace.storage.journal.replaying import apply_commits, put_snapshot
from populace.storage.journal.sealed_object import read_object, write_object
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import NO_DIGEST, Commit, Position, Segment
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.snapshot import read_snapshot
from populace.storage.records import keys
from populace.storage.shards.shard import Shard
from tests.fuzzing.mutation import mutated, mutated_value
from tests.storage.faulty_bucket import FaultyBucket
from tests.storage.samples import SEALING, open_shard

NAME = "store/shard-0000"
INPUTS_A_SHARD = 300

_msgpack: Any = msgpack


class Journal:
    """Takes segments and snapshots, sealed as they have to be, and objects whose bytes were changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fed = 0
        self._shards = ExitStack()
        self._shard: Shard | None = None
        self._seal = JournalSeal(SEALING.master_key, "store")
        self._segments, self._items = _segments(), _snapshot_items()

    def close(self) -> None:
        self._shards.close()

    def made(self, source: random.Random) -> bytes:
        """Make an input; its first byte says what it is."""
        kind = source.choice(b"spo")
        if kind == ord("o"):
            bucket = FaultyBucket()
            write_object(bucket, self._seal, "o", [b"".join(self._items)])
            stored = cast("bytes", bucket.read("o"))
            return b"o" + mutated(stored, [stored], source)
        samples = self._segments if kind == ord("s") else [b"".join(self._items)]
        sample = source.choice(samples)
        if source.random() < 0.4:
            return bytes([kind]) + mutated(sample, samples, source)
        try:
            unpacker = _msgpack.Unpacker(use_list=False)
            unpacker.feed(sample)
            values = [*unpacker]
            at = source.randrange(len(values))
            values[at] = mutated_value(values[at], source)
            return bytes([kind]) + b"".join(_msgpack.packb(value, use_bin_type=True) for value in values)
        except (ValueError, OverflowError):
            return bytes([kind]) + sample

    def feed(self, data: bytes) -> None:
        kind, content = data[:1], data[1:]
        if kind == b"s":
            segment = Segment.unpack(NAME, content)
            assert Segment.unpack(NAME, segment.pack()) == segment
            apply_commits(self._opened(), segment.commits)
            return
        bucket = FaultyBucket()
        if kind == b"o":
            bucket.replace("o", content)
            pieces = read_object(bucket, self._seal, "o")
            assert pieces is not None
            for _ in pieces:
                pass
            return
        journal = ShardJournal(bucket, self._seal, NAME, 0, owner="a reader", now_ms=lambda: 0)
        write_object(bucket, self._seal, journal.name_of("s", 1), [content])
        put_snapshot(self._opened(), read_snapshot(journal, 1))

    def _opened(self) -> Shard:
        """A shard that is not much older than the input, as inputs delete rows."""
        self._fed += 1
        if self._shard is None or self._fed % INPUTS_A_SHARD == 0:
            self._shards.close()
            self._shard = open_shard(self._folder / f"shard-{self._fed}")
            self._shards.callback(self._shard.close)
        return self._shard


def _segments() -> list[bytes]:
    rows = [(keys.api_key(str(number)), str(number).encode() * 30) for number in range(4)]
    commits = [
        Commit(1, [(0, *row) for row in rows]),
        Commit(2, [(1, rows[0][0]), (0, rows[1][0], b"other"), (2, rows[2][0])]),
    ]
    return [
        Segment(0, 1, 2, "owner", 1_700_000_000_000, NO_DIGEST, 0, []).pack(),
        Segment(0, 2, 2, "owner", 1_700_000_000_001, b"d" * 32, 0, commits).pack(),
    ]


def _snapshot_items() -> list[bytes]:
    first = _msgpack.packb((tuple(Position(1, b"d" * 32, 2, 2)), 1_700_000_000_000), use_bin_type=True)
    rows = [(keys.api_key(str(number)), b"value" * 20) for number in range(5)]
    return [first, *(_msgpack.packb(row, use_bin_type=True) for row in rows)]


@contextmanager
def journal() -> Generator[Journal]:
    with tempfile.TemporaryDirectory(prefix="populace-fuzz-") as folder:
        target = Journal(Path(folder))
        yield target
        target.close()

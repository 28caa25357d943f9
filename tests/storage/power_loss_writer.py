"""A store at work, which says on stdout what is durable: the victim of ``tests/storage/power_loss.py``.

``python -m tests.storage.power_loss_writer ROOT [FLAW]``: with a flaw it is durable no more, to see
that the replay finds out.
"""

import functools
import os
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb

from populace.policies import placement
from populace.storage.header import HEADER_FILE
from populace.storage.records import erasures
from populace.storage.resharding.reshard import reshard
from populace.storage.rows import ledger
from populace.storage.shards.committer import Committer
from populace.storage.store import Store
from tests.storage.adapters import packed
from tests.storage.samples import (
    FOREVER_MS,
    TENANT,
    create_model,
    identity,
    interaction,
    publish_revision,
    revision,
)

MODELS = [f"m{number}" for number in range(5)]
DOOMED = "doomed"
TURNS = 24
TURNS_SHORT = 2
PUBLISHED = (5, 15)
LATEST = "latest"
RESHARDED = 3
"""The number of shards in the end; at first there is one."""

RESHARDED_OFTEN = "a store that is resharded several times after a few turns"
RESHARDINGS = (4, 1, 2, 5, RESHARDED)
"""No flaw either: here most of what a power loss may meet is of a resharding."""

KILLED_EARLY = "a store whose maker was killed before it synced names"
"""No flaw: this is what a store opened by the next process may meet."""

FSYNC = os.fsync
MAP_BYTES = 1 << 20
"""Less than the turns need, so that the map grows meanwhile."""


def reply_of(name: str, position: int) -> str:
    """Answer a text of 5 bytes to 18 KB: within a page, and over several."""
    return f"{name} {position};" * (1 + position * 197 % 3001)


def operation_of(name: str, position: int) -> str:
    return f"{name}-{position}"


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Writer:
    def __init__(self, root: Path) -> None:
        self._is_short = RESHARDED_OFTEN in sys.argv
        self._store = Store.create_or_open(root, 1)
        if os.fsync is FSYNC:
            say("store", self._store.store_id)
        elif KILLED_EARLY in sys.argv:
            self._add_revision(PUBLISHED[0])
            os.fsync = FSYNC
        self._shard = self._store.open_shard(0, "the victim", map_bytes=MAP_BYTES)
        say("store", self._store.store_id)
        self._committer = Committer(self._shard)

    def work(self) -> None:
        with ThreadPoolExecutor(len(MODELS) + 1) as pool:
            working = [pool.submit(self._live, name) for name in MODELS]
            working.append(pool.submit(self._live_and_die))
        for done in working:
            done.result()
        self._committer.close()
        assert self._is_short or self._shard.statistics().bytes_map > MAP_BYTES
        self._shard.close()
        for shards in RESHARDINGS if self._is_short else (RESHARDED,):
            say("resharding", shards)
            reshard(self._store.path, shards, placement=placement, report=lambda step, fraction: None)
            say("resharded", shards)

    def _live(self, name: str) -> None:
        self._create(name)
        for position in range(TURNS_SHORT if self._is_short else TURNS):
            self._take_turn(name, position)
            if (name, position) == (MODELS[0], TURNS // 2):
                self._shard.compact()
            if position in PUBLISHED:
                self._publish(name, position)

    def _live_and_die(self) -> None:
        self._create(DOOMED)
        for position in range(TURNS_SHORT if self._is_short else TURNS // 2):
            self._take_turn(DOOMED, position)
        say("deleting", DOOMED)
        self._committer.submit(lambda txn: erasures.erase_model(txn, TENANT, DOOMED, now_ms=0)).result()
        say("deleted", DOOMED)

    def _create(self, name: str) -> None:
        self._committer.submit(
            lambda txn: create_model(txn, identity(name), sealing=self._store.sealing)
        ).result()
        say("created", name)

    def _take_turn(self, name: str, position: int) -> None:
        operation = operation_of(name, position)
        turn = interaction(position, operation, reply_of(name, position))
        self._committer.submit(
            lambda txn: ledger.commit_turn(
                txn,
                TENANT,
                name,
                turn,
                body_hash=b"body",
                expected_position=position,
                expires_ms=FOREVER_MS,
                now_ms=0,
            )
        ).result()
        say("turn", name, position)

    def _add_revision(self, position: int) -> str:
        # One content for all models: most of them find it stored, or race for it.
        if position % 2:
            return self._store.revisions.add_directory(b"{}", f"{position}".encode() * 5000)[0]
        return self._store.revisions.add(packed(f"{position}", bytes_min=5000))[0]

    def _publish(self, name: str, position: int) -> None:
        digest = self._add_revision(position)
        say("stored", digest)
        record = revision().model_copy(update={"digest": digest})
        self._committer.submit(lambda txn: publish_revision(txn, TENANT, name, record, LATEST)).result()
        say("published", name, digest)


def _leave_out(is_left_out: Callable[[int], bool]) -> None:
    """Replace ``fsync`` by one that does nothing for some descriptors."""

    def flawed(descriptor: int) -> None:
        if not is_left_out(descriptor):
            FSYNC(descriptor)

    os.fsync = flawed


def _is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _is_named_later(descriptor: int) -> bool:
    """Whether a maker who is killed just after it named the header comes to this sync no more."""
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    if not _is_directory(descriptor):
        return False
    return path.name in ("shards", "revisions") or (path.name == "root" and (path / HEADER_FILE).exists())


FLAWS: dict[str, Callable[[], None]] = {
    "lmdb without sync": lambda: setattr(lmdb, "open", functools.partial(lmdb.open, sync=False)),
    "lmdb without metasync": lambda: setattr(lmdb, "open", functools.partial(lmdb.open, metasync=False)),
    "files without fsync": lambda: _leave_out(lambda descriptor: not _is_directory(descriptor)),
    "directories without fsync": lambda: _leave_out(_is_directory),
    KILLED_EARLY: lambda: _leave_out(_is_named_later),
    RESHARDED_OFTEN: lambda: None,
}


def main() -> None:
    for flaw in sys.argv[2:]:
        FLAWS[flaw]()
    Writer(Path(sys.argv[1])).work()


if __name__ == "__main__":
    main()

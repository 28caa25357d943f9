"""No byte of what was erased or forgotten stays, on a disk of a store node or in the bucket.

What is in the bucket is sealed by the master key, and what a person said by their data key beneath that. So
it is opened here with every key that is left anywhere.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId, TurnGrant
from populace.storage.journal import journals
from populace.storage.journal.errors import NothingThen
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import Segment
from populace.storage.journal.shard_journal import ShardJournal, shard_folder
from populace.storage.journal.snapshot import read_snapshot
from populace.storage.records import keys
from populace.storage.records.errors import ModelNotFound, RecordInvalid
from populace.storage.records.master_key import MasterKey
from populace.storage.records.records import DataKeyRecord
from populace.storage.store import Store
from tests.actors.burglar import WRAPPED, unsealed
from tests.actors.conftest import clock
from tests.actors.fakes import FakeClock
from tests.actors.test_joined_hosts import joined
from tests.actors.test_journaled_hosts import ADA, BOB, DAY_SECONDS, World, world
from tests.actors.turns import reply, turn_of
from tests.storage.backups import files_with, stored_rows

__all__ = ["clock", "world"]  # fixtures

FORGOTTEN = "xq1-planted-and-forgotten"
ERASED = "xq2-planted-and-erased"
STAYS = "xq3-what-stays"


class Thief:
    """Has all files of all machines and the bucket, the master key, and the id of each data key ever made."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._master = MasterKey.load(world.key)
        self._seal = JournalSeal(self._master, world.store.store_id)
        self._bucket = open_bucket(world.url)
        self.key_ids: set[bytes] = set()

    def plain_text(self, *, lacks: Path | None = None) -> bytes:
        """Everything in the bucket that can be read, one row after the other; without what a machine has."""
        data_keys = set(self._data_keys(lacks))
        found: list[bytes] = []
        for row in self._rows():
            found += row
            for data_key in data_keys:
                try:
                    found += unsealed(row, data_key)
                except InvalidTag:
                    continue
        return b"\n".join(found)

    def _rows(self) -> Iterator[tuple[bytes, bytes]]:
        for number in range(self._world.store.shards):
            folder = shard_folder(self._world.store.store_id, number)
            journal = ShardJournal(self._bucket, self._seal, folder, number, owner="thief", now_ms=lambda: 0)
            for listed in journal.listed("s"):
                yield from read_snapshot(journal, int(listed.name.rpartition("/")[2])).rows
            for listed in journal.listed("j"):
                content = self._bucket.read(listed.name)
                assert content is not None
                segment = Segment.unpack(listed.name, self._seal.open(listed.name, content))
                for one in segment.commits:
                    yield from ((change[1], change[2]) for change in one.changes if len(change) == 3)

    def _data_keys(self, lacks: Path | None) -> Iterator[bytes]:
        """Unwrap whatever looks like a wrapped data key, in a file or in the bucket, for every id."""
        wrapped: set[bytes] = set()
        for file in self._world.root.rglob("*"):
            if file.is_file() and (lacks is None or lacks not in file.parents):
                wrapped.update(WRAPPED.findall(file.read_bytes()))
        for number in range(self._world.store.shards):
            folder = shard_folder(self._world.store.store_id, number)
            for listed in self._bucket.names(f"{folder}/keys"):
                content = self._bucket.read(listed.name)
                assert content is not None
                wrapped.update(WRAPPED.findall(self._seal.open(listed.name, content)))
        for data in wrapped:
            for key_id in self.key_ids:
                try:
                    yield self._master.unwrap(data, key_id)
                except RecordInvalid:
                    continue


async def say(host: ModelHost, model: ModelId, text: str) -> None:
    grant = await host.begin_turn(turn_of(model, text))
    assert isinstance(grant, TurnGrant)
    # Its completion's id is not a person's.
    await host.finish_turn(grant, replace(reply(f"I heard {text}.", asked=text), completion_id="c-1"))


def tend(host: ModelHost) -> None:
    """Do what the journals' own thread does each hour."""
    assert host._owned._journals is not None
    for attached in host._owned._journals._attached.values():
        attached.collect_at_s = 0.0
        host._owned._journals._tend(attached)


def sealed_values(store: Store) -> set[bytes]:
    return {value for rows in stored_rows(store) for key, value in rows.items() if keys.is_sealed(key)}


def wrapped_keys(store: Store) -> dict[bytes, DataKeyRecord]:
    return {
        key: DataKeyRecord.unpack(value)
        for rows in stored_rows(store)
        for key, value in rows.items()
        if key.startswith(keys.all_data_keys())
    }


def traces(world: World, gone: set[bytes]) -> list[str]:
    """The files outside of the bucket that have a sealed value which is in no row any more."""
    return [
        file
        for store in world.root.iterdir()
        if store.is_dir() and store.name != "bucket"
        for value in gone
        for file in files_with(store, value[:24])
    ]


@pytest.mark.parametrize("is_sync", [True, False])
async def test_what_was_erased_or_forgotten_leaves_all_disks_and_in_time_the_bucket(
    world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, is_sync: bool
) -> None:
    monkeypatch.setattr(journals, "TEND_SECONDS", 1e6)
    thief = Thief(world)
    with world.host(is_sync=is_sync) as host:
        await say(host, ADA, FORGOTTEN)
        await say(host, ADA, STAYS)
        await say(host, BOB, ERASED)
    second = joined(world)
    with world.host(second, is_sync=is_sync):
        pass
    before, had_keys = sealed_values(second), wrapped_keys(second)
    thief.key_ids = {record.key_id for record in had_keys.values()}
    assert [text for text in (FORGOTTEN, ERASED, STAYS) if text.encode() not in thief.plain_text()] == []
    before_ms = clock.epoch_ms()
    clock.advance(60)

    with world.host(is_sync=is_sync) as host:
        await host.forgetting.forget(ADA, (1,), "forget", memory="folded")
        await host.erase_model(BOB)
        clock.advance(3600)
        tend(host)
        assert await host.compact_shards() >= 1
        read = thief.plain_text(lacks=second.path)
        assert ERASED.encode() not in read, "its key is gone at once, but on the machine that is away"
        assert FORGOTTEN.encode() in read, "what is kept has it for a day"
        with pytest.raises(ModelNotFound):
            await host.show_model(BOB)
        clock.advance(DAY_SECONDS)
        tend(host)
    with world.host(second, is_sync=is_sync) as host:
        clock.advance(3600)
        assert await host.compact_shards() >= 1
        assert (await host.read_log(ADA))[2].reply == f"I heard {STAYS}."

    read = thief.plain_text()
    assert STAYS.encode() in read
    assert [text for text in (FORGOTTEN, ERASED) if text.encode() in read] == []
    assert [text for text in (FORGOTTEN, ERASED, STAYS) if files_with(world.root, text.encode())] == []
    gone = before - sealed_values(second)
    assert len(gone) >= 4
    assert traces(world, gone) == []
    [erased] = had_keys.keys() - wrapped_keys(second).keys()
    assert files_with(world.root, had_keys[erased].wrapped) == []
    with pytest.raises(NothingThen):
        world.restore("as-it-was", before_ms)

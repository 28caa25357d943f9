"""After its disk failed, a shard is opened anew and checked, and serves whole or not at all."""

import asyncio
import resource
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from populace.actors.keepers.owned_shards import OwnedShards
from populace.policies.reopening import SECONDS_MAX
from populace.storage.records import keys
from populace.storage.records.errors import (
    ShardStopped,
    ShardUnavailable,
    StorageError,
    UnknownOutcome,
)
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards.ownership import stored_epoch
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.actors.fakes import FakeClock
from tests.limits import HANG_SECONDS
from tests.storage.disk_recording import Write, record
from tests.storage.samples import TENANT, commit, create_model, identity


class GatedStore(Store):
    """A store whose recoveries wait until they are let go."""

    def __init__(self, path: Path, shards: int, store_id: str, sealing: Sealing) -> None:
        super().__init__(path, shards, store_id, sealing)
        self.gate = threading.Event()
        self.recovered: list[Shard] = []

    def recover_shard(self, number: int, owner: str) -> Shard:
        assert self.gate.wait(HANG_SECONDS)
        self.recovered.append(super().recover_shard(number, owner))
        return self.recovered[-1]


@pytest.fixture
def gated(tmp_path: Path) -> Generator[GatedStore]:
    store = GatedStore.create_or_open(tmp_path / "gated", 1)
    yield store
    store.gate.set()


@pytest.fixture
def losses() -> list[type[Exception]]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def owned(gated: GatedStore, losses: list[type[Exception]], clock: FakeClock) -> OwnedShards:
    owned = OwnedShards(
        gated,
        [0],
        owner="the test",
        clock=clock,
        on_lost=lambda _, error: losses.append(type(error)),
    )
    await owned.write(0, lambda txn: create_model(txn, identity(), sealing=gated.sealing))
    await owned.write(0, lambda txn: commit(txn, 0, "op-0"))
    return owned


@contextmanager
def disk_full() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def put_large(txn: WriteTransaction) -> None:
    txn.put(b"big", bytes(1 << 20))


def lose_a_turn(txn: WriteTransaction) -> None:
    txn.delete(keys.interaction(TENANT, "ada", 0))


def garble_a_record(txn: WriteTransaction) -> None:
    txn.put(keys.head(TENANT, "ada"), b"\x93")


def leave_a_stray_row(txn: WriteTransaction) -> None:
    txn.put(b"?", b"")


def misled(page: bytes) -> bytes:
    """Let the offsets in a leaf of interactions point far beyond it; what opening reads is left alone."""
    flags, lower = struct.unpack_from("<HH", page, 10)
    if flags != 2 or keys.EPOCH_KEY in page or keys.interactions(TENANT, "ada") not in page:
        return page
    return page[:16] + b"\xf0\xff" * ((lower - 16) // 2) + page[lower:]


async def fail(owned: OwnedShards) -> None:
    with disk_full(), pytest.raises(UnknownOutcome):
        await owned.write(0, put_large)


async def served(owned: OwnedShards, number: int) -> None:
    """Wait until the shard is open; the host's clock does this without any request for it."""
    async with asyncio.timeout(HANG_SECONDS):
        while not owned.is_held(number):
            owned.take_opened()
            await asyncio.sleep(0.001)


async def epoch_or_loss(owned: OwnedShards) -> int | StorageError:
    """Wait out the recovery; answer the epoch of the shard that serves, or why none does."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                with owned.read(0) as txn:
                    return stored_epoch(txn)
            except ShardStopped:
                await asyncio.sleep(0.001)
            except StorageError as error:
                return error


def test_after_a_sync_error_nothing_is_retried_on_the_handle_and_the_turn_takes_effect_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "root").mkdir()
    recording = record(
        "tests.actors.failing_disk_host",
        tmp_path / "root",
        tmp_path / "trace",
        inject=["fdatasync:error=EIO:when=3"],
    )

    assert [line.text for line in recording.lines] == [
        "unknown",
        "log op-1",
        "made 1 1 True",
        "log op-1 op-2",
    ]
    [failed] = [sync for sync in recording.syncs if sync.failed]
    writes = [change for change in recording.changes if isinstance(change, Write)]
    after = [
        one for one in (*writes, *recording.syncs) if one.inode is failed.inode and one.begun > failed.done
    ]
    assert after
    assert all(one.opened > failed.done for one in after)
    # What the kernel has in memory of a file that it failed to write is not what the disk has.
    assert any(failed.done < one.begun < after[0].begun for one in recording.forgettings)


async def test_a_shard_whose_disk_failed_refuses_until_it_is_checked_and_then_serves(
    owned: OwnedShards, gated: GatedStore, losses: list[type[Exception]]
) -> None:
    await fail(owned)

    with pytest.raises(ShardStopped) as refused, owned.read(0):
        pass
    assert refused.value.retry_after_s is not None
    with pytest.raises(ShardStopped):
        await owned.write(0, lambda txn: commit(txn, 1, "op-1"))
    gated.gate.set()
    assert await epoch_or_loss(owned) == 2
    assert (await owned.write(0, lambda txn: commit(txn, 1, "op-1"))).position == 1
    with owned.read(0) as txn:
        assert txn.get(b"big") is None
        assert [one.operation for one in ledger.read_log(txn, TENANT, "ada")] == ["op-0", "op-1"]
    assert losses == [UnknownOutcome]
    owned.check_integrity()
    owned.check_rows()
    owned.close()


@pytest.mark.parametrize("damage", [lose_a_turn, garble_a_record, leave_a_stray_row])
async def test_a_shard_whose_disk_failed_and_that_is_damaged_does_not_serve(
    owned: OwnedShards, gated: GatedStore, clock: FakeClock, damage: Callable[[WriteTransaction], object]
) -> None:
    await owned.write(0, damage)
    await fail(owned)
    gated.gate.set()

    for _ in range(2):
        found = await epoch_or_loss(owned)
        assert isinstance(found, ShardUnavailable)
        assert found.reason == "store_damaged"
        with pytest.raises(ShardUnavailable):
            await owned.write(0, lambda txn: None)
        clock.advance(SECONDS_MAX)
    owned.close()


async def test_pages_that_are_not_what_was_written_do_not_end_the_host(
    owned: OwnedShards, gated: GatedStore
) -> None:
    for number in range(1, 200):
        await owned.write(0, lambda txn, number=number: commit(txn, number, f"op-{number}"))
    await fail(owned)
    [data] = gated.shard_path(0).rglob("data.mdb")
    pages = data.read_bytes()
    data.write_bytes(b"".join(misled(pages[at : at + 4096]) for at in range(0, len(pages), 4096)))
    gated.gate.set()

    found = await epoch_or_loss(owned)
    assert isinstance(found, ShardUnavailable)
    assert found.reason == "store_damaged"
    owned.close()


async def test_a_shard_that_cannot_be_opened_leaves_the_others_served_and_serves_once_it_is_mended(
    tmp_path: Path, clock: FakeClock
) -> None:
    store = Store.create_or_open(tmp_path / "store", 3)
    [data] = store.shard_path(1).rglob("data.mdb")
    sound = data.read_bytes()
    data.write_bytes(bytes(4096) + sound[4096:])

    owned = OwnedShards(store, [0, 1, 2], owner="the test", clock=clock, on_lost=lambda number, error: None)

    assert owned.statistics().shards_open == 2
    for number in (0, 2):
        await owned.write(number, lambda txn: txn.put(b"row", b""))
    with pytest.raises(ShardUnavailable, match=r"^Shard 1 cannot be opened"), owned.read(1):
        pass
    owned.check_integrity()

    data.write_bytes(sound)
    clock.advance(SECONDS_MAX)
    await served(owned, 1)
    assert owned.statistics().shards_open == 3
    owned.close()


async def test_a_shard_that_another_process_has_holds_up_no_other_and_is_tried_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    store = Store.create_or_open(tmp_path / "store", 2)
    holder = store.open_shard(0, "an earlier host")

    owned = OwnedShards(store, [0, 1], owner="the test", clock=clock, on_lost=lambda number, error: None)

    with pytest.raises(ShardUnavailable, match="store_in_use"), owned.read(0):
        pass
    await owned.write(1, lambda txn: txn.put(b"row", b""))
    holder.close()
    clock.advance(SECONDS_MAX)
    await served(owned, 0)
    owned.close()


async def test_a_reader_that_meets_a_stopped_shard_has_it_recovered_too(
    owned: OwnedShards, gated: GatedStore, losses: list[type[Exception]]
) -> None:
    with disk_full(), pytest.raises(UnknownOutcome):
        owned._open[0].shard.write([put_large])
    gated.gate.set()

    assert await epoch_or_loss(owned) == 2
    assert losses == [ShardStopped]
    owned.close()


async def test_closing_ends_a_recovery_and_leaves_nothing_open(owned: OwnedShards, gated: GatedStore) -> None:
    await fail(owned)
    gated.gate.set()

    owned.close()

    with pytest.raises(ShardStopped), owned.read(0):
        pass
    assert [shard.is_stopped for shard in gated.recovered] == [True]
    shard = gated.open_shard(0, "the next")
    shard.check_integrity()
    shard.close()

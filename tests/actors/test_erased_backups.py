"""Who was erased is nowhere: not in a file, not for whoever has all that is left, not after a restore."""

from pathlib import Path
from typing import NamedTuple

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.policies.placement import shard_of
from populace.storage.backups.key_file import KeyFile
from populace.storage.store import Store
from tests.actors.backup_command import back_up, renew_keys, restore
from tests.actors.burglar import Burglar
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.populations import SHARDS
from tests.actors.turns import take_turn, turn_of
from tests.storage.backups import (
    add_adapter,
    create,
    files_with,
    key_id_of,
    plain_rows,
    run,
)
from tests.storage.backups import take_turn as recorded_turn
from tests.storage.samples import TENANT

PLANTED = tuple(
    f"xq{number}-planted-{what}"
    for number, what in enumerate(
        ("name", "message", "reply", "conversation", "operation", "adapter", "memory", "hosted")
    )
)
NAME, MESSAGE, REPLY, CONVERSATION, OPERATION, ADAPTER, MEMORY, HOSTED = PLANTED
ADA, BEN = ModelId(TENANT, NAME), ModelId(TENANT, "ben")
BENS = b"ben's own words"


class Places(NamedTuple):
    """A store that a host serves, an earlier backup, and the one key file. ``ada`` is her data key's id."""

    store: Store
    ada: bytes
    host: ModelHost
    backup: Path
    keys: Path

    def burglar(self, loot: Path) -> Burglar:
        return Burglar(self.store.path, self.backup, self.keys, loot)


def shard_of_model(model: ModelId) -> int:
    return shard_of(model.tenant, model.name, SHARDS)


@pytest.fixture
async def places(store: Store, make_host: MakeHost, tmp_path: Path) -> Places:
    """Ada and Ben have talked; Ada's adapter is her own; a backup was made while the host served."""
    shared, own = add_adapter(store, "shared"), add_adapter(store, ADAPTER)
    run(
        store,
        shard_of_model(ADA),
        create(store, NAME, own),
        recorded_turn(
            0,
            name=NAME,
            messages=(("user", MESSAGE),),
            reply=REPLY,
            conversation=CONVERSATION,
            operation=OPERATION,
            memory=MEMORY,
        ),
    )
    run(store, shard_of_model(BEN), create(store, "ben", shared))
    ada = key_id_of(store, shard_of_model(ADA), NAME)
    host = make_host()
    await take_turn(host, turn_of(ADA, "op-hosted"), HOSTED)
    await take_turn(host, turn_of(BEN, "op-ben"), BENS.decode())
    return Places(store, ada, host, tmp_path / "backup", tmp_path / "keys")


async def forget(places: Places, clock: FakeClock) -> None:
    """Erase Ada as a host does, with all that its clock does later."""
    await places.host.erase_model(ADA)
    clock.advance(3600)
    assert await places.host.compact_shards() == 1
    assert await places.host.sweep_adapters() == 1


def test_before_an_erasure_the_key_file_opens_all_that_was_planted(places: Places, tmp_path: Path) -> None:
    back_up(places.store.path, places.backup, places.keys)

    read = places.burglar(tmp_path / "loot").plain_text()

    assert [text for text in (*PLANTED, BENS.decode()) if text.encode() not in read] == []
    assert files_with(places.store.path, NAME.encode()) != []
    assert files_with(places.store.path, ADAPTER.encode()) != []
    assert [text for text in PLANTED if files_with(places.backup, text.encode())] == []


async def test_no_file_of_the_store_or_of_an_earlier_backup_has_a_trace_of_who_was_erased(
    places: Places, clock: FakeClock
) -> None:
    back_up(places.store.path, places.backup, places.keys)

    await forget(places, clock)
    renew_keys(places.store.path, places.keys)

    left = {
        text: files
        for text in PLANTED
        for root in (places.store.path, places.backup)
        if (files := files_with(root, text.encode()))
    }
    assert left == {}
    assert [text for text in PLANTED if text.encode() in places.keys.read_bytes()] == []


async def test_nothing_that_is_left_opens_what_an_earlier_backup_has_of_who_was_erased(
    places: Places, clock: FakeClock, tmp_path: Path
) -> None:
    back_up(places.store.path, places.backup, places.keys)

    await forget(places, clock)
    renew_keys(places.store.path, places.keys)

    read = places.burglar(tmp_path / "loot").plain_text()
    assert BENS in read
    assert [text for text in PLANTED if text.encode() in read] == []


async def test_a_restore_erases_again_who_was_erased_after_the_backup(
    places: Places, clock: FakeClock, tmp_path: Path
) -> None:
    back_up(places.store.path, places.backup, places.keys)
    await places.host.erase_model(ADA)
    renew_keys(places.store.path, places.keys)

    restored = restore(places.backup, places.keys, tmp_path / "new")

    assert (restored["models"], restored["erased"], restored["adapters"]) == (1, 1, 1)
    places.host.close()
    again = Store.open(tmp_path / "new")
    assert plain_rows(again) == plain_rows(places.store)
    assert [text for text in PLANTED if files_with(again.path, text.encode())] == []
    known = [shard.erased for shard in KeyFile.load(places.keys).read_shards()]
    assert [list(erased) for erased in known if erased] == [[places.ada]]

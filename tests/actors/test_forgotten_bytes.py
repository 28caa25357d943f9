"""No byte of what was forgotten is left: not in a file, not for whoever has every key, nor in what leaves."""

import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from populace.actors.feedback import Opinion
from populace.actors.training_options import TrainingOptions
from populace.archive.exporting import write_archive
from populace.archive.layout import VERSION_WITHOUT_SUITE
from populace.archive.reading import open_archive
from populace.policies.placement import shard_of
from populace.storage.records import keys
from populace.storage.shards.rows import Reader
from populace.storage.store import Store
from populace.storage.training.sessions import SessionFiles
from tests.actors.backup_command import back_up
from tests.actors.burglar import Burglar
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.forgetful import ADA, Ada, engine
from tests.actors.populations import SHARDS
from tests.actors.trainings import DONE, trained
from tests.storage.adapters import packed
from tests.storage.backups import files_with

SHARD = shard_of(*ADA, SHARDS)
PLANTED = tuple(
    f"xq{number}-planted-{what}"
    for number, what in enumerate(("said", "conversation", "operation", "correction"))
)
SAID, CONVERSATION, OPERATION, CORRECTION = PLANTED
WEIGHTS = "xq9-planted-weights"
KEPT = "what stays is said"


class Home(NamedTuple):
    """A store whose host serves ada, who was told, corrected and trained."""

    store: Store
    ada: Ada


@pytest.fixture
async def home(store: Store, make_host: MakeHost) -> Home:
    host = make_host(engine=engine())
    await host.create_model(ADA)
    ada = Ada(host)
    await ada.say(SAID, conversation=CONVERSATION, operation=OPERATION, sends_history=True)
    await host.give_feedback(ADA, 0, Opinion(correction=CORRECTION))
    await ada.say(KEPT, sends_history=True)
    await ada.say("goodbye", retrieve=2)
    digest, size = store.revisions.add(packed(WEIGHTS, bytes_min=300_000))
    job = await host.jobs.ask(ADA, TrainingOptions())
    made = replace(trained(await host.jobs.start(ADA, job.number)), digest=digest, adapter_bytes=size)
    await host.jobs.finish(ADA, job.number, made, DONE)
    await ada.say("and now?", sends_history=True)
    return Home(store, ada)


def sealed_values(ada: Ada) -> set[bytes]:
    """The values of ada's sealed rows as they lie on the disk."""
    shard = ada.host._owned.shard(SHARD)
    assert shard is not None
    with shard._environment.begin() as transaction:
        return {value for key, value in Reader(transaction).scan(b"") if keys.is_sealed(key)}


async def forget(home: Home, clock: FakeClock) -> None:
    """Forget as a host does, with all that its clock does later."""
    told = await home.ada.forget(0, 2)
    assert told.shown == (1, 3)
    clock.advance(3600)
    assert await home.ada.host.compact_shards() == 1
    assert await home.ada.host.sweep_adapters() == 1


async def test_no_row_nor_file_of_the_store_has_a_byte_of_it(home: Home, clock: FakeClock) -> None:
    before = sealed_values(home.ada)
    assert files_with(home.store.path, WEIGHTS.encode()) != []

    await forget(home, clock)

    with home.ada.host._owned.read(SHARD) as txn:
        rows = b"".join(key + value for key, value in txn.scan(b""))
    assert [text for text in PLANTED if text.encode() in rows] == []
    assert KEPT.encode() in rows
    assert [text for text in (*PLANTED, WEIGHTS) if files_with(home.store.path, text.encode())] == []
    # The data key lives on, so what it sealed must be gone: also from the pages that are free.
    gone = before - sealed_values(home.ada)
    assert len(gone) >= 8
    assert [value[:24] for value in gone if files_with(home.store.path, value[:24])] == []


async def test_a_backup_that_is_made_later_has_nothing_of_it_for_whoever_has_its_keys(
    home: Home, clock: FakeClock, tmp_path: Path
) -> None:
    back_up(home.store.path, tmp_path / "before", tmp_path / "keys")
    read = Burglar(home.store.path, tmp_path / "before", tmp_path / "keys", tmp_path / "a").plain_text()
    assert [text for text in (*PLANTED, WEIGHTS) if text.encode() not in read] == []

    await forget(home, clock)
    back_up(home.store.path, tmp_path / "after", tmp_path / "keys")

    read = Burglar(home.store.path, tmp_path / "after", tmp_path / "keys", tmp_path / "b").plain_text()
    assert KEPT.encode() in read
    assert [text for text in (*PLANTED, WEIGHTS) if text.encode() in read] == []


async def test_an_archive_that_is_made_later_has_nothing_of_it(home: Home, clock: FakeClock) -> None:
    await forget(home, clock)
    file = io.BytesIO()

    write_archive(file, "ada", await home.ada.host.export_model(ADA), home.store.revisions)

    with open_archive(file, "ada", bytes_max=2**30) as archive:
        assert archive.manifest.version == VERSION_WITHOUT_SUITE
        whole = b"".join(archive.read(name) for name in archive.manifest.members)
    assert KEPT.encode() in whole
    assert [text for text in (*PLANTED, WEIGHTS) if text.encode() in whole] == []


async def test_what_a_training_saved_of_it_is_swept_and_opened_by_nothing(
    home: Home, clock: FakeClock
) -> None:
    sessions = SessionFiles.of_store(home.store.path)
    job = await home.ada.host.jobs.ask(ADA, TrainingOptions())
    await home.ada.host.jobs.start(ADA, job.number)
    [opened] = await home.ada.host.jobs.open_jobs()
    sessions.write(opened.session_key, SAID.encode())

    await home.ada.forget(0)

    with home.ada.host._owned.read(SHARD) as txn:
        rows = b"".join(value for _, value in txn.scan(b""))
    assert opened.session_key not in rows
    assert sessions.sweep([one.session_key for one in await home.ada.host.jobs.open_jobs()]) == 1

"""What `populace serve` opens: its own store, a new one, or one to take over from a journal."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from populace.cluster.store_opening import open_store
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings
from populace.storage.header import HEADER_FILE
from populace.storage.journal.errors import (
    JournalCopied,
    JournalDamaged,
    JournalElsewhere,
    JournalNeeded,
    JournalOfOthers,
    StoreNotNamed,
)
from populace.storage.journal.former import note_whole
from populace.storage.journal.journals import Journals
from populace.storage.records.errors import MasterKeyRefused, StoreInvalid
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import JOURNAL_FILE, Store

SHARDS = 2


def opened(settings: Settings) -> Store:
    return open_store(settings, lambda step: None)


@pytest.fixture
def first(tmp_path: Path) -> Settings:
    """The settings of a Populace that has begun its journal."""
    (tmp_path / "bucket").mkdir()
    settings = Settings(data=tmp_path / "first", journal=f"file://{tmp_path}/bucket", shards=SHARDS)
    opened(settings)
    return settings


def test_a_new_directory_does_not_begin_a_store_beside_the_journals_of_others(
    first: Settings, tmp_path: Path
) -> None:
    store_id = opened(first).store_id
    second = first.model_copy(update={"data": tmp_path / "second", "shards": None})

    with pytest.raises(JournalOfOthers, match=rf"{store_id}.*--take-over"):
        opened(second)
    assert not (second.data / MASTER_KEY_FILE).exists()
    with pytest.raises(MasterKeyRefused, match="cannot be read"):
        opened(second.model_copy(update={"take_over": store_id}))
    shutil.copy(first.data / MASTER_KEY_FILE, tmp_path / "safe.key")
    taken = second.model_copy(update={"take_over": store_id, "master_key": tmp_path / "safe.key"})
    for settings in (taken, taken, taken.model_copy(update={"take_over": None})):
        store = opened(settings)
        assert (store.store_id, store.shards, store.path) == (store_id, SHARDS, second.data)


def test_a_store_that_cannot_be_taken_over_is_refused(first: Settings, tmp_path: Path) -> None:
    store_id = opened(first).store_id
    own = Settings(data=tmp_path / "own", shards=SHARDS)
    opened(own)

    with pytest.raises(SettingsError, match=r"POPULACE_TAKE_OVER.*POPULACE_JOURNAL"):
        opened(own.model_copy(update={"take_over": store_id}))
    with pytest.raises(StoreInvalid, match="that of the store"):
        opened(first.model_copy(update={"data": own.data, "take_over": store_id}))
    with pytest.raises(StoreNotNamed, match=store_id):
        opened(first.model_copy(update={"data": tmp_path / "new", "take_over": "0" * 32}))
    with pytest.raises(StoreInvalid, match="2 shards"):
        opened(first.model_copy(update={"shards": 3, "take_over": store_id}))


def test_a_copy_takes_the_store_over_only_if_it_is_asked_to(first: Settings, tmp_path: Path) -> None:
    store_id = opened(first).store_id
    copy = first.model_copy(update={"data": tmp_path / "copy"})
    shutil.copytree(first.data, copy.data)

    with pytest.raises(JournalCopied, match=rf"{first.data} on .*--take-over {store_id}"):
        opened(copy)

    steps: list[str] = []
    open_store(copy.model_copy(update={"take_over": store_id}), steps.append)
    assert any(f"over from {first.data} on " in step for step in steps), steps
    for settings in (copy, first):
        assert opened(settings).store_id == store_id


def test_a_directory_that_was_moved_or_put_in_place_of_another_is_no_copy(
    first: Settings, tmp_path: Path
) -> None:
    store_id = opened(first).store_id
    moved = first.model_copy(update={"data": tmp_path / "moved"})
    first.data.rename(moved.data)
    assert opened(moved).store_id == store_id

    shutil.copytree(moved.data, first.data)
    moved.data.rename(tmp_path / "old")
    first.data.rename(moved.data)
    assert opened(moved).store_id == store_id
    # An earlier release noted no place.
    note = json.loads((moved.data / JOURNAL_FILE).read_text())
    (moved.data / JOURNAL_FILE).write_text(json.dumps({"url": note["url"]}))
    assert opened(moved).store_id == store_id
    assert json.loads((moved.data / JOURNAL_FILE).read_text())["place"]["path"] == str(moved.data)


def test_a_directory_that_waits_for_its_journal_is_never_served_as_an_empty_store(
    first: Settings, tmp_path: Path
) -> None:
    store_id = opened(first).store_id
    bucket, away = tmp_path / "bucket", tmp_path / "away"
    taken = first.model_copy(
        update={"data": tmp_path / "taken", "master_key": first.data / MASTER_KEY_FILE, "shards": None}
    )
    opened(taken.model_copy(update={"take_over": store_id}))

    # No host has opened a shard yet.
    (tmp_path / "another").mkdir()
    with pytest.raises(JournalElsewhere, match="nothing of its store"):
        opened(taken.model_copy(update={"journal": f"file://{tmp_path}/another"}))
    bucket.rename(away)
    with pytest.raises(JournalNeeded):
        opened(taken.model_copy(update={"journal": None}))
    bucket.mkdir()
    with pytest.raises(JournalElsewhere, match="mounted"):
        opened(taken)
    with pytest.raises(JournalNeeded):
        note_whole(taken.data)
    assert not (bucket / store_id / "store.json").exists()
    bucket.rename(tmp_path / "nothing")
    away.rename(bucket)
    store = opened(taken)
    assert store.store_id == store_id

    options = taken.journal_options
    assert options is not None
    journals = Journals(store, options, owner="a host", now_ms=lambda: 0)
    try:
        for number in range(SHARDS):
            with closing(store.open_shard(number, "a host")) as shard:
                journals.attach(shard)
    finally:
        journals.finish()
    note_whole(taken.data)
    assert not json.loads((taken.data / JOURNAL_FILE).read_text())["joined"]
    assert opened(taken.model_copy(update={"journal": None})).store_id == store_id


def test_a_take_over_that_was_killed_before_the_directory_was_whole_goes_on(
    first: Settings, tmp_path: Path
) -> None:
    store_id = opened(first).store_id
    taken = first.model_copy(
        update={
            "data": tmp_path / "taken",
            "master_key": first.data / MASTER_KEY_FILE,
            "take_over": store_id,
        }
    )
    opened(taken)
    header = json.loads((taken.data / HEADER_FILE).read_text())
    (taken.data / HEADER_FILE).write_text(json.dumps({**header, "whole": False}))
    shutil.rmtree(taken.data / "shards")

    assert opened(taken).store_id == store_id
    with pytest.raises(JournalNeeded):
        opened(taken.model_copy(update={"journal": None, "take_over": None}))
    (taken.data / HEADER_FILE).unlink()
    shutil.rmtree(taken.data / "shards")
    assert opened(taken).store_id == store_id


def test_a_copy_begins_another_journal_where_there_is_none_of_its_store(
    first: Settings, tmp_path: Path
) -> None:
    store_id = opened(first).store_id
    (tmp_path / "another").mkdir()
    copy = first.model_copy(update={"data": tmp_path / "copy", "journal": f"file://{tmp_path}/another"})
    shutil.copytree(first.data, copy.data)

    assert opened(copy).store_id == store_id
    assert opened(copy).store_id == store_id


def test_a_description_that_was_lost_is_told_from_none(first: Settings, tmp_path: Path) -> None:
    store_id = opened(first).store_id
    (tmp_path / "bucket" / store_id / HEADER_FILE).unlink()
    (tmp_path / "bucket" / store_id / "shard-0000").mkdir()
    taken = first.model_copy(update={"data": tmp_path / "taken", "take_over": store_id})

    with pytest.raises(JournalDamaged, match=rf"{store_id}/store.json.*writes it anew"):
        opened(taken)
    assert not taken.data.exists()
    opened(first)
    assert (tmp_path / "bucket" / store_id / HEADER_FILE).exists()

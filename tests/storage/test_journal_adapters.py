"""Adapters on their way to the bucket: not one after the other, and none that is erased meanwhile."""

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from populace.storage.journal.adapters import JournalAdapters
from populace.storage.journal.attaching import attach
from populace.storage.journal.sealing import JournalSeal
from populace.storage.records.transaction import WriteTransaction
from populace.storage.revisions import RevisionFiles
from tests.limits import HANG_SECONDS
from tests.storage.adapters import packed
from tests.storage.faulty_bucket import FaultyBucket
from tests.storage.samples import SEALING, TENANT, open_shard, publish_revision, revision
from tests.storage.test_journal import World, create, world

__all__ = ["world"]  # a fixture


class LookingBucket(FaultyBucket):
    """Notes whether adapters may be removed while one is written to it."""

    def __init__(self, files: RevisionFiles) -> None:
        super().__init__()
        self._files = files
        self.removals: list[bool] = []

    def replace(self, name: str, content: bytes | Iterable[bytes]) -> None:
        with self._files.alone() as is_alone:
            self.removals.append(is_alone)
        super().replace(name, content)


def test_no_adapter_is_removed_while_it_is_brought_to_the_bucket(tmp_path: Path) -> None:
    """It would be there for ever, after it was erased from there."""
    files = RevisionFiles(tmp_path / "revisions")
    digest, _ = files.add(packed("ada"))
    bucket = LookingBucket(files)
    adapters = JournalAdapters(bucket, JournalSeal(SEALING.master_key, "store"), "store", files)

    adapters.keep(digest)

    assert bucket.removals == [False]
    assert len(bucket.names("store/adapters")) == 1
    with files.alone() as is_alone:
        assert is_alone
        files.remove(digest)
        adapters.remove(digest)
    adapters.keep(digest)
    assert bucket.names("store/adapters") == []


def test_an_adapter_that_is_damaged_here_does_not_become_the_journals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = RevisionFiles(tmp_path / "revisions")
    digest, _ = files.add(packed("ada"))
    bucket = FaultyBucket()
    adapters = JournalAdapters(bucket, JournalSeal(SEALING.master_key, "store"), "store", files)
    content = bytearray(files.path(digest).read_bytes())
    content[-1] ^= 1
    files.path(digest).write_bytes(content)

    adapters.keep(digest)

    assert bucket.names("store/adapters") == []
    assert digest in caplog.text
    assert files.add(packed("ada"), replaces=True)[0] == digest
    adapters.keep(digest)
    assert len(bucket.names("store/adapters")) == 1


class Together:
    """Adapters that are kept once two are on their way."""

    def __init__(self) -> None:
        self._two = threading.Barrier(2)

    def keep(self, digest: str) -> None:
        self._two.wait(HANG_SECONDS)


def test_the_adapters_of_a_shard_that_begins_its_journal_are_uploaded_together(world: World) -> None:
    shard = open_shard(world.root / "one")
    world.opened.append(shard)

    def put(txn: WriteTransaction) -> None:
        create(txn, "ada")
        for seed in ("one", "two"):
            publish_revision(txn, TENANT, "ada", revision(seed))

    assert shard.write([put]) == [None]

    attach(shard, world.journal("one"), Together(), is_sync=True)

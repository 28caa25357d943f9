"""``populace doctor --deep`` names what is damaged of a store, and with ``--mend`` what it mended."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from populace.cli.main import app
from populace.cluster.doctor.checks import Check
from populace.cluster.doctor.scrub import check_whole
from populace.settings.settings import Settings
from populace.storage.journal.adapters import JournalAdapters
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.sealing import JournalSeal
from populace.storage.store import Store
from tests.storage.backups import SHARDS, fill


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    fill(Store.create_or_open(tmp_path / "data", SHARDS))
    return Settings(data=tmp_path / "data", config=tmp_path / "config")


def checked(settings: Settings, *, mends: bool = False) -> dict[str, Check]:
    return {check.name: check for check in check_whole(settings, mends=mends)}


def test_a_whole_store_is_said_to_be_and_where_there_is_none_nothing_is_made(
    settings: Settings, tmp_path: Path
) -> None:
    assert {name: check.status for name, check in checked(settings).items()} == {
        "shards": "ok",
        "people": "ok",
        "adapters": "ok",
    }
    assert checked(settings)["people"].detail == "all of 2 are whole"
    [none] = checked(Settings(data=tmp_path / "nothing")).values()
    assert none.status == "ok"
    assert not (tmp_path / "nothing").exists()


def test_a_damaged_adapter_is_named_and_is_mended_from_the_journal(
    settings: Settings, tmp_path: Path
) -> None:
    journaled = settings.model_copy(update={"journal": f"file://{tmp_path / 'bucket'}"})
    store = Store.open(settings.data)
    (tmp_path / "bucket").mkdir()
    seal = JournalSeal(store.sealing.master_key, store.store_id)
    adapters = JournalAdapters(open_bucket(str(journaled.journal)), seal, store.store_id, store.revisions)
    for digest in store.revisions.digests():
        adapters.keep(digest)
    [packed] = [
        path for digest in store.revisions.digests() if (path := store.revisions.path(digest)).is_file()
    ]
    packed.write_bytes(packed.read_bytes()[:-1] + b"!")

    alone, found = checked(settings), checked(journaled)
    assert alone["adapters"].status == found["adapters"].status == "fail"
    assert packed.name.split(".")[0] in found["adapters"].detail
    assert "populace restore" in alone["adapters"].remedy
    assert "--mend" in found["adapters"].remedy
    assert found["people"].status == found["shards"].status == "ok"

    mended = checked(journaled, mends=True)["adapters"]
    assert (mended.status, mended.detail) == ("ok", "1 were damaged, and are mended")
    assert checked(settings)["adapters"].status == "ok"


def test_without_the_master_key_nothing_is_called_damaged(settings: Settings, tmp_path: Path) -> None:
    (settings.data / "master.key").rename(tmp_path / "away.key")

    [told] = checked(settings).values()

    assert told.status == "warn"
    assert "POPULACE_MASTER_KEY" in told.remedy


def test_mending_without_reading_is_refused() -> None:
    refused = CliRunner().invoke(app, ["doctor", "--mend"])

    assert refused.exit_code == 2
    assert "--deep" in refused.output

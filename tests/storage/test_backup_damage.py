"""A backup or key file that was damaged, changed or mistaken is named before anything is made of it."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from populace.storage.backups.backup import write_keys
from populace.storage.backups.errors import BackupInvalid, BackupVersionMismatch, KeyFileRefused
from populace.storage.backups.manifest import Manifest, sum_line, write_mac
from populace.storage.records.errors import StorageError, StoreVersionMismatch
from populace.storage.store import Store
from tests.storage.backups import SHARDS, Place, quiet

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda data: bytes(
        (*data[: len(data) // 2], data[len(data) // 2] ^ 1, *data[len(data) // 2 + 1 :])
    ),
    "the end": lambda data: data[:-1],
    "all": lambda data: b"",
    "more": lambda data: data + data[-40:],
}


@pytest.mark.parametrize("damage", [*DAMAGES, "absent"])
def test_a_backup_of_which_any_file_was_changed_is_refused_and_nothing_is_made(
    backed_up: Place, damage: str
) -> None:
    before = backed_up.names()
    files = [file for file in backed_up.backup.rglob("*") if file.is_file()]
    assert len(files) == 3 + SHARDS + 2
    for file in files:
        whole = file.read_bytes()
        if damage == "absent":
            file.unlink()
        else:
            file.write_bytes(DAMAGES[damage](whole))

        with pytest.raises((BackupInvalid, KeyFileRefused)):
            backed_up.restore()

        assert backed_up.names() == before, file
        file.write_bytes(whole)
    assert backed_up.restore().models == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_was_changed_is_refused_also_if_its_sum_was_changed_with_it(
    backed_up: Place, damage: str
) -> None:
    before = backed_up.names()
    files = [file for folder in ("shards", "adapters") for file in (backed_up.backup / folder).iterdir()]
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(DAMAGES[damage](whole))
        vouch_for(backed_up)

        with pytest.raises(BackupInvalid, match=file.name):
            backed_up.restore()

        assert backed_up.names() == before, file
        file.write_bytes(whole)
    vouch_for(backed_up)
    assert backed_up.restore().models == 2


def vouch_for(place: Place) -> None:
    """Write the sums and their MAC anew, as only who has the master key can."""
    manifest = Manifest.read(place.backup)
    names = [line.split()[1] for line in (place.backup / "SHA256SUMS").read_text().splitlines()]
    sums = [sum_line(sha256((place.backup / name).read_bytes()).digest(), name) for name in names]
    (place.backup / "SHA256SUMS").write_text("".join(sums))
    write_mac(place.backup, manifest, place.store.sealing.master_key)


def test_a_sum_is_not_believed_without_the_master_key(backed_up: Place) -> None:
    sums = backed_up.backup / "SHA256SUMS"
    for changed in (sums.read_text() * 2, sums.read_text().replace("shards/0000", "shards/0001")):
        sums.write_text(changed)

        with pytest.raises(BackupInvalid, match="SHA256SUMS was changed"):
            backed_up.restore()


def test_a_shard_of_one_backup_does_not_pass_for_one_of_another(backed_up: Place) -> None:
    second = backed_up.backup.with_name("second")
    backed_up.back_up(second)
    shutil.copy(second / "shards" / "0000", backed_up.backup / "shards" / "0000")
    vouch_for(backed_up)

    with pytest.raises(BackupInvalid, match="another key"):
        backed_up.restore()

    assert not backed_up.new.exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_key_file_that_was_damaged_is_refused_and_loses_nobody(backed_up: Place, damage: str) -> None:
    whole = backed_up.keys.read_bytes()
    backed_up.keys.write_bytes(DAMAGES[damage](whole))

    with pytest.raises(KeyFileRefused):
        backed_up.restore(partial=True)

    assert not backed_up.new.exists()


def test_the_key_file_of_another_store_is_refused(backed_up: Place, tmp_path: Path) -> None:
    other = Store.create_or_open(tmp_path / "other", SHARDS)
    write_keys(other, tmp_path / "other keys", now_ms=5, report=quiet)

    for wrong in ("other keys", "absent"):
        with pytest.raises(KeyFileRefused):
            backed_up.restore(keys=tmp_path / wrong, partial=True)

    assert not backed_up.new.exists()


NEWER: dict[str, tuple[dict[str, object], type[StorageError]]] = {
    "a newer format": ({"version": 2, "more": True}, BackupVersionMismatch),
    "newer rows": ({"schema": 99}, StoreVersionMismatch),
    "something else": ({"format": "something"}, BackupInvalid),
    "an unknown field": ({"more": True}, BackupInvalid),
}


@pytest.mark.parametrize("case", NEWER)
def test_a_backup_that_this_release_does_not_know_is_refused_by_name(backed_up: Place, case: str) -> None:
    changes, error = NEWER[case]
    manifest = backed_up.backup / "backup.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))

    with pytest.raises(error):
        backed_up.restore()

    assert not backed_up.new.exists()


def test_a_directory_that_is_no_backup_is_refused_by_name(backed_up: Place) -> None:
    for other in (backed_up.store.path, backed_up.new.with_name("absent")):
        with pytest.raises(BackupInvalid, match=r"backup\.json cannot be read"):
            backed_up.restore(backup=other)

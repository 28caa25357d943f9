"""A training that was interrupted is found again by whoever has its key, and by nobody else."""

import os
from pathlib import Path

import pytest

from populace.storage.records.errors import DiskRefused, RecordInvalid
from populace.storage.training.sessions import SessionFiles, new_session_key

KEY, OTHER = new_session_key(), new_session_key()


@pytest.fixture
def files(tmp_path: Path) -> SessionFiles:
    return SessionFiles(tmp_path / "training")


def test_the_newest_session_of_a_key_is_read(files: SessionFiles) -> None:
    assert files.read(KEY) is None

    files.write(KEY, b"step 1")
    files.write(OTHER, b"somebody's")
    files.write(KEY, b"step 2")

    assert files.read(KEY) == b"step 2"
    assert files.read(OTHER) == b"somebody's"


def test_a_session_lies_encrypted_and_another_key_does_not_open_it(files: SessionFiles) -> None:
    files.write(KEY, b"what somebody said")

    assert b"said" not in files.path(KEY).read_bytes()
    files.path(KEY).rename(files.path(OTHER))
    with pytest.raises(RecordInvalid, match="changed"):
        files.read(OTHER)


@pytest.mark.parametrize("length", [0, 5, 20])
def test_a_cut_file_is_refused_by_name(files: SessionFiles, length: int) -> None:
    files.write(KEY, b"step 1")
    files.path(KEY).write_bytes(files.path(KEY).read_bytes()[:length])

    with pytest.raises(RecordInvalid, match="changed"):
        files.read(KEY)


def test_a_sweep_leaves_the_sessions_that_somebody_goes_on_with(files: SessionFiles) -> None:
    assert files.sweep([]) == 0
    for key in (KEY, OTHER):
        files.write(key, b"step 1")

    assert files.sweep([KEY]) == 1
    assert (files.read(KEY), files.read(OTHER)) == (b"step 1", None)
    files.remove(KEY)
    files.remove(KEY)
    assert files.read(KEY) is None


def test_a_disk_that_refuses_is_named(files: SessionFiles) -> None:
    files.root.write_text("a file where the directory should be")

    with pytest.raises(DiskRefused):
        files.write(KEY, b"step 1")


def test_the_budget_drops_the_longest_unused_of_these_keys(files: SessionFiles) -> None:
    third = new_session_key()
    for age, key in enumerate((KEY, OTHER, third)):
        files.write(key, bytes(100))
        os.utime(files.path(key), (age, age))
    size = files.path(KEY).stat().st_size
    assert files.use(KEY) == bytes(100)
    assert files.use(new_session_key()) is None

    assert files.trim([KEY, OTHER, third], 3 * size) == 0
    assert files.trim([KEY, OTHER], 2 * size - 1) == 1
    assert [files.has(key) for key in (KEY, OTHER, third)] == [True, False, True]
    assert files.trim([KEY, OTHER, third], 0) == 2

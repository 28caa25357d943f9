"""Adapters are named by their content and never change: packed files, and directories of earlier stores."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.envelope import CONTENT_AT, FORMAT
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.records.errors import StoreInvalid
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE, RevisionFiles, adapter_digest
from tests.storage.adapters import packed


@pytest.fixture
def files(tmp_path: Path) -> RevisionFiles:
    return RevisionFiles(tmp_path / "revisions")


def names(files: RevisionFiles) -> list[str]:
    return [entry.name for entry in files.root.iterdir()]


def test_a_stored_adapter_comes_back_as_it_was_under_the_digest_in_it(files: RevisionFiles) -> None:
    data = packed()

    digest, size = files.add(data)

    assert files.path(digest).read_bytes() == data
    assert (digest, size) == (PackedAdapter(memoryview(data)).digest, len(data))
    assert names(files) == [f"{digest}.adapter"]
    assert files.has(digest)
    files.verify(digest)


def test_a_stored_adapter_can_be_read_by_other_users(files: RevisionFiles) -> None:
    before = os.umask(0o077)
    try:
        digest, _ = files.add(packed())
    finally:
        os.umask(before)

    assert stat.S_IMODE(files.path(digest).stat().st_mode) == 0o644


def test_an_adapter_of_an_earlier_store_is_a_directory_of_its_two_files(files: RevisionFiles) -> None:
    digest, size = files.add_directory(b"{}", b"tensors")

    path = files.path(digest)
    assert (path / "adapter_config.json").read_bytes() == b"{}"
    assert (path / "adapter_model.safetensors").read_bytes() == b"tensors"
    assert size == 9
    assert files.has(digest)
    files.verify(digest)


def test_a_file_and_its_bytes_have_one_digest(files: RevisionFiles, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"tensors" * 400_000)
    (tmp_path / "p").write_bytes(packed(bytes_min=3_000_000))

    assert files.add(tmp_path / "p") == files.add(packed(bytes_min=3_000_000))
    assert files.add_directory(b"{}", tmp_path / "t") == files.add_directory(b"{}", b"tensors" * 400_000)


def test_adding_the_same_content_again_changes_nothing(files: RevisionFiles) -> None:
    digest, size = files.add(packed())
    before = files.path(digest).stat()

    with ThreadPoolExecutor(4) as pool:
        again = set(pool.map(files.add, [packed()] * 8))

    assert again == {(digest, size)}
    assert files.path(digest).stat() == before
    assert names(files) == [f"{digest}.adapter"]


def test_adding_the_same_directory_again_changes_nothing(files: RevisionFiles) -> None:
    digest, _ = files.add_directory(b"{}", b"tensors")
    before = (files.path(digest) / CONFIG_FILE).stat()

    with ThreadPoolExecutor(4) as pool:
        again = set(pool.map(files.add_directory, [b"{}"] * 8, [b"tensors"] * 8))

    assert again == {(digest, 9)}
    assert (files.path(digest) / CONFIG_FILE).stat() == before
    assert names(files) == [digest]


def test_adders_that_race_store_one_adapter(files: RevisionFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        [(packed_digest, _)] = set(pool.map(files.add, [packed()] * 16))
        [(digest, _)] = set(pool.map(files.add_directory, [b"{}"] * 16, [b"tensors"] * 16))

    assert set(names(files)) == {f"{packed_digest}.adapter", digest}
    files.verify(packed_digest)


def test_the_digest_does_not_run_the_two_files_together(files: RevisionFiles) -> None:
    assert files.add_directory(b"ab", b"c")[0] != files.add_directory(b"a", b"bc")[0]


def test_the_digest_is_the_same_in_every_release(files: RevisionFiles) -> None:
    directory, _ = files.add_directory(b"{}", b"tensors")
    file, _ = files.add(packed())

    assert directory == "671cf2e34c61908703907be244bde9e2d667fbb80ea7b5c042d53504ee49d09e"
    assert file == "c23b7b6455825f71386b1cbb10d7415423a7a37a43adb2c5cda76116d65a6b39"


def test_a_failed_add_leaves_nothing(files: RevisionFiles, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.add(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        files.add_directory(b"{}", tmp_path / "absent")

    assert names(files) == []


def test_a_changed_bit_anywhere_in_a_packed_adapter_is_found_out(files: RevisionFiles) -> None:
    whole = packed()
    digest, _ = files.add(whole)
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        files.path(digest).write_bytes(changed)

        with pytest.raises(StoreInvalid, match=digest):
            files.verify(digest)
        with pytest.raises((PackedAdapterInvalid, PackedAdapterVersionMismatch)):
            files.add(changed)
    assert names(files) == [f"{digest}.adapter"]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda data: data[:-1],
    "cut in the digest": lambda data: data[: CONTENT_AT - 1],
    "longer": lambda data: data + b"!",
    "empty": lambda data: b"",
    "of a newer format": lambda data: data[:7] + bytes([FORMAT + 1]) + data[8:],
    "another adapter": lambda data: bytes(packed("another")),
    "absent": lambda data: None,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("form", ["packed", "directory"])
def test_a_damaged_adapter_is_found_out(
    files: RevisionFiles, form: str, damage: Callable[[bytes], bytes | None]
) -> None:
    data = bytes(packed())
    digest, _ = files.add(data) if form == "packed" else files.add_directory(b"{}", data)
    file = files.path(digest) if form == "packed" else files.path(digest) / TENSORS_FILE
    changed = damage(data)
    file.unlink()
    if changed is not None:
        file.write_bytes(changed)

    with pytest.raises(StoreInvalid, match=digest):
        files.verify(digest)


def test_both_forms_are_removed_alone_and_leave_nothing(files: RevisionFiles) -> None:
    file, _ = files.add(packed())
    directory, _ = files.add_directory(b"{}", b"tensors")

    files.remove(file)
    assert not files.has(file)
    files.verify(directory)
    files.remove(directory)
    files.remove(directory)

    assert names(files) == []


def test_a_sweep_removes_what_a_crash_left_and_nothing_else(files: RevisionFiles) -> None:
    file, _ = files.add(packed())
    directory, _ = files.add_directory(b"{}", b"tensors")
    (files.root / ".incoming-left").mkdir()
    (files.root / ".incoming-left" / TENSORS_FILE).write_bytes(b"half")
    (files.root / ".incoming-file").write_bytes(b"half")

    assert files.sweep() == 2

    assert set(names(files)) == {f"{file}.adapter", directory}


def test_a_directory_and_a_file_have_each_the_digest_that_they_are_stored_under(
    files: RevisionFiles,
) -> None:
    for added in (files.add(packed()), files.add_directory(b"{}", b"tensors")):
        assert adapter_digest(files.path(added[0])) == added


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "/etc", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_no_name_leaves_the_root(files: RevisionFiles, name: str) -> None:
    assert not files.has(name)
    with pytest.raises(StoreInvalid):
        files.path(name)
    with pytest.raises(StoreInvalid):
        files.verify(name)


def test_an_adapter_that_only_passes_is_there_for_the_block_and_nobody_sweeps_meanwhile(
    files: RevisionFiles,
) -> None:
    data = packed()

    with files.passing(data) as (digest, path):
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
        assert not files.has(digest)
        with files.alone() as is_alone:
            assert not is_alone

    assert digest == PackedAdapter(memoryview(data)).digest
    assert names(files) == [".lock"]


def test_a_stored_adapter_that_passes_is_taken_from_where_it_is_and_stays(files: RevisionFiles) -> None:
    stored, _ = files.add(packed())

    with files.passing(packed()) as (digest, path):
        assert (digest, path) == (stored, files.path(stored))

    files.verify(stored)

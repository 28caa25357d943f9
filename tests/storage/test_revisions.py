"""Adapter files are named by their content and never change."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from populace.storage.errors import StoreInvalid
from populace.storage.revisions import RevisionFiles


@pytest.fixture
def files(tmp_path: Path) -> RevisionFiles:
    return RevisionFiles(tmp_path / "revisions")


def test_stored_files_come_back_as_they_were(files: RevisionFiles) -> None:
    digest, size = files.add(b"{}", b"tensors")

    path = files.path(digest)
    assert (path / "adapter_config.json").read_bytes() == b"{}"
    assert (path / "adapter_model.safetensors").read_bytes() == b"tensors"
    assert size == 9
    assert files.has(digest)
    files.verify(digest)


def test_a_file_and_its_bytes_have_one_digest(files: RevisionFiles, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"tensors" * 400_000)

    assert files.add(b"{}", tmp_path / "t") == files.add(b"{}", b"tensors" * 400_000)


def test_adding_the_same_content_again_changes_nothing(files: RevisionFiles) -> None:
    digest, _ = files.add(b"{}", b"tensors")
    before = (files.path(digest) / "adapter_config.json").stat()

    with ThreadPoolExecutor(4) as pool:
        again = set(pool.map(files.add, [b"{}"] * 8, [b"tensors"] * 8))

    assert again == {(digest, 9)}
    assert (files.path(digest) / "adapter_config.json").stat() == before
    assert [entry.name for entry in files.root.iterdir()] == [digest]


def test_adders_that_race_store_one_directory(files: RevisionFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(files.add, [b"{}"] * 16, [b"tensors"] * 16))

    [(digest, _)] = digests
    assert [entry.name for entry in files.root.iterdir()] == [digest]


def test_the_digest_does_not_run_the_two_files_together(files: RevisionFiles) -> None:
    assert files.add(b"ab", b"c")[0] != files.add(b"a", b"bc")[0]


def test_the_digest_is_the_same_in_every_release(files: RevisionFiles) -> None:
    assert (
        files.add(b"{}", b"tensors")[0] == "671cf2e34c61908703907be244bde9e2d667fbb80ea7b5c042d53504ee49d09e"
    )


def test_a_failed_add_leaves_nothing(files: RevisionFiles, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.add(b"{}", tmp_path / "absent")

    assert list(files.root.iterdir()) == []


@pytest.mark.parametrize("damage", [b"Tensors", b"tensors!", b"", None])
def test_a_damaged_adapter_is_found_out(files: RevisionFiles, damage: bytes | None) -> None:
    digest, _ = files.add(b"{}", b"tensors")
    tensors = files.path(digest) / "adapter_model.safetensors"
    tensors.unlink()
    if damage is not None:
        tensors.write_bytes(damage)

    with pytest.raises(StoreInvalid):
        files.verify(digest)


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "/etc", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_no_name_leaves_the_root(files: RevisionFiles, name: str) -> None:
    assert not files.has(name)
    with pytest.raises(StoreInvalid):
        files.path(name)
    with pytest.raises(StoreInvalid):
        files.verify(name)

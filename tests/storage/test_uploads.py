"""An uploaded file is its tenant's alone, encrypted, whole or absent, and gone once it is removed."""

import errno
import os
from pathlib import Path

import pytest

from populace.storage.records.errors import DiskRefused, RecordInvalid
from populace.storage.records.master_key import MasterKey
from populace.storage.streams.sealed_stream import CHUNK_BYTES
from populace.storage.uploads import upload_files
from populace.storage.uploads.errors import UploadNotFound, UploadsFull
from populace.storage.uploads.upload_files import Upload, UploadFiles

NOW_MS = 1_700_000_000_000
ROOM = 10 * CHUNK_BYTES


@pytest.fixture
def files(tmp_path: Path) -> UploadFiles:
    return UploadFiles(tmp_path / "uploads", MasterKey.generate())


def add(
    files: UploadFiles,
    *pieces: bytes,
    tenant: str = "acme",
    now_ms: int = NOW_MS,
    kept: int | None = None,
    filename: str = "lines.jsonl",
) -> Upload:
    return files.add(
        tenant,
        pieces,
        filename=filename,
        purpose="fine-tune",
        now_ms=now_ms,
        seconds_kept=kept,
        bytes_max=ROOM,
    )


def test_a_file_is_read_as_it_was_written_whatever_its_pieces(files: UploadFiles) -> None:
    pieces = (b"one", os.urandom(2 * CHUNK_BYTES + 5), b"", b"end")

    upload = add(files, *pieces)

    assert b"".join(files.read("acme", upload.file_id, NOW_MS)) == b"".join(pieces)
    assert (upload.size, upload.filename) == (len(b"".join(pieces)), "lines.jsonl")
    assert files.find("acme", upload.file_id, NOW_MS) == upload
    assert b"".join(files.read("acme", add(files).file_id, NOW_MS)) == b""


def test_nothing_of_a_file_lies_readable_on_the_disk(files: UploadFiles) -> None:
    add(files, b"what was said " * 10)

    written = [path.read_bytes() for path in files.root.rglob("*") if path.is_file()]

    assert len(written) == 2
    assert not any(b"was said" in data or b"lines.jsonl" in data for data in written)


@pytest.mark.parametrize("file_id", ["file-" + "0" * 24, "", "../globex/file-1", "file-1"])
def test_what_is_no_file_of_the_tenant_is_not_found(files: UploadFiles, file_id: str) -> None:
    with pytest.raises(UploadNotFound):
        files.find("acme", file_id, NOW_MS)
    with pytest.raises(UploadNotFound):
        files.read("acme", file_id, NOW_MS)
    with pytest.raises(UploadNotFound):
        files.remove("acme", file_id)


def test_another_tenant_has_no_such_file_even_if_it_is_moved_there(files: UploadFiles) -> None:
    upload = add(files, b"acme's")
    add(files, b"globex's", tenant="globex")

    with pytest.raises(UploadNotFound):
        files.find("globex", upload.file_id, NOW_MS)
    for path in (files.root / "acme").iterdir():
        path.rename(files.root / "globex" / path.name)
    with pytest.raises(RecordInvalid):
        files.read("globex", upload.file_id, NOW_MS)


def test_files_are_listed_newest_first_and_removed_ones_are_gone(files: UploadFiles) -> None:
    first, second = add(files, b"1"), add(files, b"2", now_ms=NOW_MS + 1)

    assert files.of_tenant("acme", NOW_MS) == [second, first]
    files.remove("acme", first.file_id)

    assert files.of_tenant("acme", NOW_MS) == [second]
    assert len(list((files.root / "acme").iterdir())) == 2
    assert (files.of_tenant("nobody", NOW_MS), files.of_tenant("../acme", NOW_MS)) == ([], [])


def test_a_file_expires_when_it_was_to(files: UploadFiles) -> None:
    upload = add(files, b"for an hour", kept=3600)

    assert files.find("acme", upload.file_id, NOW_MS + 3_599_999) == upload
    with pytest.raises(UploadNotFound):
        files.find("acme", upload.file_id, NOW_MS + 3_600_000)
    assert list((files.root / "acme").iterdir()) == []


def test_a_file_that_has_expired_is_read_by_nobody_and_swept(files: UploadFiles) -> None:
    expired, lasting = add(files, b"for an hour", kept=3600), add(files, b"for good", tenant="globex")
    add(files, b"for an hour", kept=3600, tenant="initech")

    with pytest.raises(UploadNotFound):
        files.read("acme", expired.file_id, NOW_MS + 3_600_000)
    files.sweep(NOW_MS + 3_600_000, older_than_ms=0)

    assert {path.stem for path in files.root.glob("*/*")} == {lasting.file_id}


def test_a_file_that_is_deleted_before_its_first_piece_is_not_found(files: UploadFiles) -> None:
    upload = add(files, b"gone")
    content = files.read("acme", upload.file_id, NOW_MS)

    files.remove("acme", upload.file_id)

    with pytest.raises(UploadNotFound):
        next(content)


def test_a_damaged_record_hides_one_file_which_can_be_removed(
    files: UploadFiles, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, whole = add(files, b"1"), add(files, b"2")
    (files.root / "acme" / f"{damaged.file_id}.info").write_bytes(b"damaged")

    assert files.of_tenant("acme", NOW_MS) == [whole]
    assert damaged.file_id in caplog.text
    assert add(files, b"3").size == 1
    files.remove("acme", damaged.file_id)
    assert not list(files.root.glob(f"acme/{damaged.file_id}.*"))


def test_a_tenants_files_have_a_limit_together_and_what_is_refused_leaves_nothing(files: UploadFiles) -> None:
    upload = add(files, bytes(ROOM - 1))

    with pytest.raises(UploadsFull, match="10,485,760 bytes"):
        add(files, b"1", b"2")

    assert files.of_tenant("acme", NOW_MS) == [upload]
    assert len(list((files.root / "acme").iterdir())) == 2
    assert add(files, b"2", tenant="globex").size == 1


def test_a_changed_or_cut_content_is_refused_by_name(files: UploadFiles) -> None:
    upload = add(files, b"1" * CHUNK_BYTES, b"2")
    path = files.root / "acme" / f"{upload.file_id}.content"
    whole = path.read_bytes()

    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(RecordInvalid):
            list(files.read("acme", upload.file_id, NOW_MS))


def test_a_sweep_removes_what_a_dead_process_left_and_no_file(files: UploadFiles) -> None:
    upload = add(files, b"whole")
    left = files.root / "acme" / ".file-1.content.half"
    left.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    fresh = files.root / "acme" / ".file-2.content.half"
    fresh.write_bytes(b"half")
    os.utime(fresh, (3000, 3000))

    assert files.sweep(NOW_MS, older_than_ms=2_000_000) == 1

    assert (left.exists(), fresh.exists()) == (False, True)
    assert b"".join(files.read("acme", upload.file_id, NOW_MS)) == b"whole"


def test_a_file_whose_record_cannot_be_written_leaves_nothing(
    files: UploadFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, *, mode: int) -> None:
        path.write_bytes(data)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    upload = add(files, b"whole")
    with pytest.raises(UnicodeEncodeError):
        add(files, b"one", filename="\ud800")
    monkeypatch.setattr(upload_files, "write_durably", full)
    with pytest.raises(DiskRefused, match="No space left"):
        add(files, b"two")

    assert {path.stem for path in (files.root / "acme").iterdir()} == {upload.file_id}


def test_a_disk_that_refuses_is_named(files: UploadFiles) -> None:
    files.root.write_text("a file where the directory should be")

    with pytest.raises(DiskRefused, match="uploads"):
        add(files, b"1")

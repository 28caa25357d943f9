"""What threads did at once is recorded as it was done."""

from pathlib import Path

from tests.storage.disk_recording import Entry, Sync, read_recording


def test_a_number_that_is_given_anew_before_its_closing_ends_is_the_new_file_s(tmp_path: Path) -> None:
    root = tmp_path / "root"

    def quoted(name: str) -> str:
        return '"' + "".join(f"\\x{byte:02x}" for byte in str(root / name).encode()) + '"'

    trace = tmp_path / "trace"
    trace.write_text(
        f"1 openat(AT_FDCWD, {quoted('old')}, O_RDWR|O_CREAT) = 5\n"
        "1 close(5 <unfinished ...>\n"
        f"2 openat(AT_FDCWD, {quoted('new')}, O_RDWR|O_CREAT) = 5\n"
        "1 <... close resumed>) = 0\n"
        "2 fsync(5) = 0\n"
    )

    recording = read_recording(trace, root)

    added = {entry.added for entry in recording.changes if isinstance(entry, Entry)}
    [new] = [inode for name, inode in filter(None, added) if name == "new"]
    assert recording.syncs == [Sync(4, 4, new, 2, failed=False)]

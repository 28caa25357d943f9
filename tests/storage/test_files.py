"""A file is replaced as a whole or stays as it was."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from populace.storage.records.files import replaced_durably, write_durably


def test_a_file_is_what_was_written_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    with replaced_durably(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"

    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def write_half(target: Path, stop: type[BaseException]) -> None:
    with replaced_durably(target) as file:
        file.write(b"half")
        raise stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError, ValueError])
def test_a_writer_that_is_stopped_leaves_nothing_behind(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    for target in (path, tmp_path / "new"):
        with pytest.raises(stop):
            write_half(target, stop)

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)

    with replaced_durably(path) as file:
        file.write(b"x")

    assert path.read_bytes() == b"x"


def test_writers_of_one_file_at_once_each_write_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writers = 4
    together = threading.Barrier(writers)
    contents = [bytes([number]) * 10_000 for number in range(writers)]

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                together.wait()
                write_durably(path, content)
        except OSError:
            together.abort()
            raise

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, contents))

    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]

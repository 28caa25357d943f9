"""A log's file turns over, and a disk that refuses it costs lines and nothing else."""

import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from populace.settings.environment import process_environment
from populace.telemetry import log_setup
from populace.telemetry.log_setup import LogFile
from populace.telemetry.queued import LineRecord, Losses
from tests.limits import HANG_SECONDS
from tests.runtime.telemetry.written import lines_of


def write(file: LogFile, *messages: str) -> None:
    for message in messages:
        record = logging.LogRecord("populace", logging.INFO, __file__, 1, message, None, None)
        file.handle(LineRecord(record, {"ts": "2026", "msg": message}))


def told(path: Path) -> list[str]:
    return [line["msg"] for line in lines_of(path)]


def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "host-0.jsonl"
    file = LogFile(path, Losses(), bytes_max=80, files=3)
    write(file, *(f"line {number}" for number in range(10)))
    file.close()

    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "host-0.jsonl",
        "host-0.jsonl.1",
        "host-0.jsonl.2",
    ]
    assert [told(tmp_path / f"host-0.jsonl{end}") for end in (".2", ".1", "")] == [
        ["line 4", "line 5"],
        ["line 6", "line 7"],
        ["line 8", "line 9"],
    ]


def test_only_its_owner_reads_a_log(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "logs" / "host-0.jsonl", Losses())
    write(file, "one")
    file.close()

    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "host-0.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "host-0.jsonl"
    file = LogFile(path, Losses())
    write(file, "one")
    path.unlink()
    path.parent.rmdir()
    write(file, "two")
    file.close()

    assert told(path) == ["two"]


def test_a_data_directory_that_was_moved_away_does_not_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    file = LogFile(data / "logs" / "host-0.jsonl", Losses())
    write(file, "one")
    data.rename(tmp_path / "elsewhere")
    write(file, "two", "three")
    assert not data.exists()
    (tmp_path / "elsewhere").rename(data)
    write(file, "four")
    file.close()

    lines = lines_of(data / "logs" / "host-0.jsonl")
    assert [(line["msg"], line.get("dropped")) for line in lines] == [("one", None), ("four", 2)]
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_standard_error_hears_of_it_once_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("populace.telemetry.log_setup.time.monotonic", lambda: now)
    file = LogFile(tmp_path / "nothing" / "logs" / "host-0.jsonl", Losses())
    write(file, "one", "two")
    now += log_setup.NOTICE_SECONDS
    write(file, "three")

    assert capsys.readouterr().err.count("(No such file or directory)") == 2


def test_a_standard_error_that_is_closed_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile(tmp_path / "nothing" / "logs" / "host-0.jsonl", Losses())
    monkeypatch.setattr(sys, "stderr", None)

    write(file, "one")


def test_a_full_disk_costs_lines_and_they_go_on_when_there_is_room(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow: the disk takes a part of a line and then nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.telemetry.test_log_file", str(tmp_path)],
        cwd=Path(__file__).parents[3],
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1
    raw = (tmp_path / "host-0.jsonl").read_text(encoding="utf-8").splitlines()
    torn = [line for line in raw if not line.endswith("}")]
    assert len(torn) == 1, "what fitted of a line is a line of its own"
    (tmp_path / "host-0.jsonl").write_text("".join(f"{line}\n" for line in raw if line not in torn))
    lines = lines_of(tmp_path / "host-0.jsonl")
    assert [line["msg"] for line in lines[-2:]] == ["room again", "and on"]
    assert [line.get("dropped") for line in lines] == [None] * (len(lines) - 2) + [100 - len(lines) + 2, None]


def fill(directory: Path) -> None:
    file = LogFile(directory / "host-0.jsonl", Losses())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    write(file, *(f"line {number}" for number in range(100)))
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    write(file, "room again", "and on")
    file.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]))


def test_a_line_that_a_kill_tore_does_not_take_the_next_one_along(tmp_path: Path) -> None:
    path = tmp_path / "host-0.jsonl"
    path.write_bytes(b'{"ts": "2026", "msg": "whole"}\n{"ts": "20')
    file = LogFile(path, Losses())
    write(file, "the next process begins")
    file.close()

    assert path.read_bytes().splitlines()[2] == b'{"ts": "2026", "msg": "the next process begins"}'

"""The logs of all processes are read as one, each line once, also while they turn over."""

import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from populace.telemetry.lines import text_of, timestamp
from populace.telemetry.log_setup import LogFile
from populace.telemetry.queued import LineRecord, Losses
from populace.telemetry.reading import Logs, Selection


class Log:
    """The log of a process that a test writes; each line has about 100 bytes."""

    def __init__(self, directory: Path, name: str, *, bytes_max: int = 10_000) -> None:
        self._file = LogFile(directory / f"{name}.jsonl", Losses(), bytes_max=bytes_max)
        self._process, _, number = name.partition("-")
        self._number = int(number)

    def write(self, second: int, message: str, **more: Any) -> None:
        record = logging.LogRecord("populace", logging.INFO, __file__, 1, message, None, None)
        line = {"ts": timestamp(second), "level": "info", "msg": message, "process": self._process}
        self._file.handle(LineRecord(record, line | {"number": self._number} | more))


@pytest.fixture
def logs(tmp_path: Path) -> Generator[Logs]:
    with Logs(tmp_path) as logs:
        yield logs


def told(logs: Logs) -> list[str]:
    return [line["msg"] for line in logs.read()]


def all_told(directory: Path, selection: Selection | None = None) -> list[str]:
    with Logs(directory, selection) as logs:
        return told(logs)


def test_the_lines_of_all_processes_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    hosts, gateway = [Log(tmp_path, f"host-{number}") for number in range(2)], Log(tmp_path, "gateway-0")
    for second, log in enumerate((gateway, hosts[0], hosts[1], gateway, hosts[1], hosts[0])):
        log.write(second, str(second))

    assert all_told(tmp_path) == ["0", "1", "2", "3", "4", "5"]


def test_older_files_come_first(tmp_path: Path) -> None:
    log = Log(tmp_path, "host-0", bytes_max=300)
    for second in range(12):
        log.write(second, str(second))

    assert len(list(tmp_path.iterdir())) > 2
    assert all_told(tmp_path) == [str(second) for second in range(12)]


def test_following_has_each_line_once_over_many_turns_of_the_file(tmp_path: Path, logs: Logs) -> None:
    log, other = Log(tmp_path, "host-0", bytes_max=300), Log(tmp_path, "gateway-0")
    seen, second = list[str](), 0
    # Between two looks nothing is written, some lines, or more than a file holds.
    for added in (1, 0, 2, 7, 3, 0, 5, 1, 8):
        for _ in range(added):
            second += 1
            (other if second % 5 == 0 else log).write(second, str(second))
        seen += told(logs)

    assert seen == [str(number) for number in range(1, second + 1)]
    assert len(list(tmp_path.glob("host-0.jsonl*"))) > 2


def test_following_goes_on_after_more_than_all_files_were_written(tmp_path: Path, logs: Logs) -> None:
    log = Log(tmp_path, "host-0", bytes_max=150)
    log.write(0, "0")
    assert told(logs) == ["0"]
    for second in range(1, 30):
        log.write(second, str(second))

    assert told(logs)[-1] == "29"
    log.write(30, "30")
    assert told(logs) == ["30"]


def test_a_line_is_read_when_it_is_whole(tmp_path: Path, logs: Logs) -> None:
    path, line = tmp_path / "host-0.jsonl", json.dumps({"ts": timestamp(0), "msg": "whole"})
    with path.open("w") as file:
        file.write(line[:10])
        file.flush()
        assert told(logs) == []
        file.write(line[10:])
        file.flush()
        assert told(logs) == []
        file.write("\n")

    assert told(logs) == ["whole"]


def test_torn_lines_and_other_files_are_passed_over(tmp_path: Path) -> None:
    whole = json.dumps({"ts": timestamp(0), "msg": "whole"})
    (tmp_path / "host-0.jsonl").write_text(f'{{"ts": "20\n7\n{{}}\n{whole}\n')
    (tmp_path / "notes.jsonl").write_text(f"{whole}\n")

    assert all_told(tmp_path) == ["whole"]


def test_a_process_that_begins_is_found(tmp_path: Path, logs: Logs) -> None:
    assert told(logs) == []
    Log(tmp_path, "trainer-0").write(0, "begins")

    assert told(logs) == ["begins"]
    assert logs.names == ["trainer-0"]


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), "0123"),
        (Selection(process="host"), "012"),
        (Selection(process="host-1"), "12"),
        (Selection(level="warning"), "12"),
        (Selection(request_id="req_1"), "03"),
        (Selection(since=timestamp(2)), "23"),
        (Selection(process="host", request_id="req_1", level="info"), "0"),
        (Selection(process="trainer"), ""),
    ],
    ids=str,
)
def test_only_what_is_asked_for_is_read(tmp_path: Path, selection: Selection, wanted: str) -> None:
    first, second, gateway = (Log(tmp_path, name) for name in ("host-0", "host-1", "gateway-0"))
    first.write(0, "0", request_id="req_1")
    second.write(1, "1", level="error")
    second.write(2, "2", level="warning", request_id="req_2")
    gateway.write(3, "3", request_id="req_1", level="debug")

    assert "".join(all_told(tmp_path, selection)) == wanted


def test_a_line_for_a_person_obeys_no_terminal(tmp_path: Path) -> None:
    line = {"ts": timestamp(0.25), "level": "info", "logger": "populace.a", "msg": "\x1b[2J\x07 gone"}
    more = {"process": "host", "number": 0, "request_id": "req_1", "dropped": 3, "exc": "a\nb"}

    text = text_of(line | more)

    assert text[19:] == (
        ".250 info    host-0 a: �[2J� gone [req_1] (3 lines before this one are lost)\n    a\n    b"
    )


def test_a_log_that_was_emptied_in_its_place_is_followed_on(tmp_path: Path, logs: Logs) -> None:
    log = Log(tmp_path, "host-0")
    for second in range(20):
        log.write(second, str(second))
    assert len(told(logs)) == 20

    with (tmp_path / "host-0.jsonl").open("r+b") as file:
        file.truncate()
    log.write(20, "20")

    assert told(logs) == ["20"]


def test_a_line_with_a_time_of_another_form_is_none(tmp_path: Path) -> None:
    (tmp_path / "host-0.jsonl").write_text('{"ts": "yesterday", "msg": "one"}\n')
    Log(tmp_path, "host-0").write(1, "two")

    assert all_told(tmp_path) == ["two"]

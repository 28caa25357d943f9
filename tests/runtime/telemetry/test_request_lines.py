"""A request is found in the logs of all processes, for its own tenant, and the search has an end."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from populace.telemetry import file_search
from populace.telemetry.file_search import FileSearch, Limits
from populace.telemetry.lines import timestamp
from populace.telemetry.request_lines import lines_of_request
from tests.runtime.telemetry.test_reading import Log
from tests.runtime.telemetry.written import CountedSearch

ACME, GLOBEX = "a" * 16, "b" * 16


def found(directory: Path, tenant: str = ACME, request_id: str = "req_1") -> list[str]:
    return [line.message for line in lines_of_request(FileSearch(directory), request_id, tenant)]


def of(tenant: str | None, request_id: str = "req_1") -> dict[str, Any]:
    return {"request_id": request_id} | ({} if tenant is None else {"tenant": tenant})


def test_the_lines_of_all_processes_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    gateway, host = Log(tmp_path, "gateway-0"), Log(tmp_path, "host-1")
    gateway.write(0, "first", **of(ACME))
    host.write(1, "second", **of(ACME), **{"error.code": "fenced", "exc": "File a\nKeyError"})
    gateway.write(2, "third", **of(ACME))

    search = FileSearch(tmp_path)
    found = lines_of_request(search, "req_1", ACME)

    assert search.is_whole
    assert [line.message for line in found] == ["first", "second", "third"]
    second = found[1]
    assert (second.at, second.level, second.process, second.number) == (timestamp(1), "info", "host", 1)
    # Where in the server's code it was raised is for its operator.
    assert (second.error_code, second.raised) == ("fenced", "KeyError")


def test_a_line_of_another_tenant_or_of_none_is_nobody_elses(tmp_path: Path) -> None:
    log = Log(tmp_path, "gateway-0")
    for tenant in (ACME, GLOBEX, None):
        log.write(0, str(tenant), **of(tenant))

    assert found(tmp_path) == [ACME]
    assert found(tmp_path, GLOBEX) == [GLOBEX]
    assert found(tmp_path, "c" * 16) == []


def test_an_id_within_other_text_is_not_the_request(tmp_path: Path) -> None:
    log = Log(tmp_path, "gateway-0")
    log.write(0, "req_1", **of(ACME, "req_12"))
    log.write(1, 'said "req_1"', **of(ACME, "req_2"))
    log.write(2, "this", **of(ACME))

    assert found(tmp_path) == ["this"]


@pytest.mark.parametrize("request_id", ["level", "request_id", "info", 'a"\\b', "ä"])
def test_only_the_lines_of_the_id_are_parsed_whatever_it_is(tmp_path: Path, request_id: str) -> None:
    log = Log(tmp_path, "gateway-0")
    for second in range(3):
        log.write(second, f"said {json.dumps(request_id)}", **of(ACME, "req_1"))
    log.write(3, "this", **of(ACME, request_id))
    search = CountedSearch(tmp_path)

    lines = lines_of_request(search, request_id, ACME)

    assert [line.message for line in lines] == ["this"]
    assert search.lines == 1


def test_files_that_were_turned_over_are_searched_too(tmp_path: Path) -> None:
    log = Log(tmp_path, "host-0", bytes_max=400)
    for second in range(6):
        log.write(second, str(second), **of(ACME))

    assert len(list(tmp_path.iterdir())) > 2
    assert found(tmp_path) == [str(second) for second in range(6)]


def test_lines_that_lie_across_blocks_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path, "host-0")
    for second in range(9):
        log.write(second, str(second), **of(ACME if second % 2 else GLOBEX))
    for size in (1, 7, 64, 100, 1000):
        monkeypatch.setattr(file_search, "BLOCK_BYTES", size)
        assert found(tmp_path) == ["1", "3", "5", "7"], size


def test_what_is_torn_or_no_log_is_passed_over(tmp_path: Path) -> None:
    line = json.dumps({"ts": timestamp(0), "msg": "whole", **of(ACME)})
    (tmp_path / "host-0.jsonl").write_text(f'{line[:40]}\n{line}\n7 "req_1"\n{line[:60]}')
    (tmp_path / "notes.jsonl").write_text(f"{line}\n")

    assert found(tmp_path) == ["whole"]
    assert found(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "limits", [Limits(found_max=3), Limits(bytes_max=500), Limits(seconds_max=0.5)], ids=str
)
def test_a_search_that_ends_at_a_limit_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    monkeypatch.setattr(file_search, "BLOCK_BYTES", 150)
    log = Log(tmp_path, "host-0")
    for second in range(20):
        log.write(second, str(second), **of(ACME))
    ticks = count(0.0, 0.1)

    search = FileSearch(tmp_path, limits, lambda: next(ticks))
    cut = lines_of_request(search, "req_1", ACME)

    assert not search.is_whole
    assert 0 < len(cut) < 20
    assert len(cut) <= limits.found_max

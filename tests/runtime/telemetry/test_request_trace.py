"""A request's trace is found in the files of all processes, for its own tenant, and the search has an end."""

from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from populace.actors import span_names as names
from populace.telemetry import file_search, request_trace
from populace.telemetry.calls import Caller, current_caller, serving
from populace.telemetry.file_search import FileSearch, Limits
from populace.telemetry.options import TraceOptions
from populace.telemetry.request_trace import trace_of_request
from populace.telemetry.tracing.provider import start_traces
from populace.telemetry.tracing.setup import tracing_setup
from populace.telemetry.tracing.spans import TRACER
from tests.runtime.telemetry.written import CountedSearch, options

ACME, GLOBEX = "a" * 16, "b" * 16


@contextmanager
def process(folder: Path, kind: str, number: int = 0) -> Generator[None]:
    """Be a process that writes its traces to a folder."""
    end = tracing_setup(start_traces(options(folder), TraceOptions("file", str(folder)), kind, number))
    try:
        yield
    finally:
        end()


def asked(request_id: str = "req_1", tenant: str | None = ACME, spans: int = 1) -> bytes:
    """Serve a request that has spans below its own; return the last one of them."""
    with serving(Caller(request_id)), TRACER.root("GET /", {names.TENANT: tenant}):
        last = b""
        for number in range(spans):
            with TRACER.span(f"{request_id} {number}", {names.HOST: "host-0", names.HTTP_ROUTE: "/"}):
                last = current_caller().trace or b""
        return last


def found(folder: Path, tenant: str = ACME, request_id: str = "req_1") -> list[str]:
    return [span.name for span in trace_of_request(FileSearch(folder), request_id, tenant)]


def test_the_spans_of_all_processes_are_one_tree(tmp_path: Path) -> None:
    with process(tmp_path, "gateway"):
        last = asked()
    with process(tmp_path, "host", 1), serving(Caller("req_1", last, ACME)), TRACER.span("below"):
        TRACER.record("within", 1.0, 1.25)

    spans = trace_of_request(FileSearch(tmp_path), "req_1", ACME)

    by_name = {span.name: span for span in spans}
    root, call, below, within = (by_name[name] for name in ("GET /", "req_1 0", "below", "within"))
    assert (root.parent, call.parent, below.parent, within.parent) == (None, root.id, call.id, below.id)
    assert (call.process, call.number, below.process, below.number) == ("gateway", 0, "host", 1)
    assert within.ms == 250
    assert min(span.began_ms for span in spans) == 0
    assert [span.began_ms for span in spans] == sorted(span.began_ms for span in spans)
    # Only what is known to be harmless leaves the machine.
    assert (root.attributes, call.attributes) == ({}, {names.HOST: "host-0"})


def test_a_request_of_another_tenant_or_of_none_is_nobody_elses(tmp_path: Path) -> None:
    with process(tmp_path, "gateway"):
        for tenant in (ACME, GLOBEX, None):
            asked(tenant=tenant, spans=2 if tenant == GLOBEX else 1)

    assert found(tmp_path) == ["GET /", "req_1 0"]
    assert found(tmp_path, GLOBEX) == ["GET /", "req_1 0", "req_1 1"]
    assert found(tmp_path, "c" * 16) == []


def test_a_request_that_has_another_ones_id_as_text_is_not_it(tmp_path: Path) -> None:
    with process(tmp_path, "gateway"):
        asked("req_12")
        with serving(Caller("req_2")), TRACER.root("GET /", {names.TENANT: ACME, names.HOST: "req_1"}):
            pass

    assert found(tmp_path) == []


@pytest.mark.parametrize("request_id", ["name", "traceId", 'a"\\b', "ä"])
def test_only_the_lines_of_the_request_are_parsed_whatever_its_id_is(tmp_path: Path, request_id: str) -> None:
    for number in range(4):
        with process(tmp_path, "gateway", number):
            asked(request_id if number == 2 else "req_1")
    search = CountedSearch(tmp_path)

    spans = trace_of_request(search, request_id, ACME)

    assert [span.name for span in spans] == ["GET /", f"{request_id} 0"]
    # Once for the request's own span, and once for its trace.
    assert search.lines == 2


def test_both_readings_of_a_search_may_read_as_much_as_the_limits_say(tmp_path: Path) -> None:
    for number in range(4):
        with process(tmp_path, "gateway", number):
            asked(f"req_{number}")
    read = sum(file.stat().st_size for file in tmp_path.iterdir())
    search = FileSearch(tmp_path, Limits(bytes_max=read))

    spans = trace_of_request(search, "req_0", ACME)

    assert [span.name for span in spans] == ["GET /", "req_0 0"]
    assert search.is_whole


def test_files_that_were_turned_over_and_torn_lines_are_searched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path, "gateway"):
        asked(spans=3)
    file = tmp_path / "gateway-0.jsonl"
    line = file.read_bytes()
    file.rename(file.with_name("gateway-0.jsonl.1"))
    file.write_bytes(line[:200] + b"\n" + line[: len(line) // 2])
    (tmp_path / "notes.jsonl").write_bytes(line)

    for size in (64, 1000, 1024 * 1024):
        monkeypatch.setattr(file_search, "BLOCK_BYTES", size)
        assert found(tmp_path) == ["GET /", "req_1 0", "req_1 1", "req_1 2"]
    assert found(tmp_path / "nothing") == []


def test_more_spans_than_the_limit_leave_the_first_ones(tmp_path: Path) -> None:
    with process(tmp_path, "gateway"):
        asked(spans=9)
    search = FileSearch(tmp_path, Limits(found_max=4))

    spans = trace_of_request(search, "req_1", ACME)

    assert [span.name for span in spans] == ["GET /", "req_1 0", "req_1 1", "req_1 2"]
    assert not search.is_whole


@pytest.mark.parametrize("limits", [Limits(bytes_max=500), Limits(seconds_max=0.5)], ids=str)
def test_a_search_that_ends_at_a_limit_says_so(tmp_path: Path, limits: Limits) -> None:
    for number in range(9):
        with process(tmp_path, "gateway", number):
            asked()
    ticks = count(0.0, 0.1)
    search = FileSearch(tmp_path, limits, lambda: next(ticks))

    spans = trace_of_request(search, "req_1", ACME)

    assert not search.is_whole
    assert 0 < len(spans) < 18


@pytest.mark.parametrize("bound", ["ROOTS_MAX", "COLLECTED_MAX"])
def test_requests_of_one_id_without_end_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(request_trace, bound, 3)
    with process(tmp_path, "gateway"):
        for _ in range(3 if bound == "COLLECTED_MAX" else 9):
            asked(spans=2)
    search = FileSearch(tmp_path)

    spans = trace_of_request(search, "req_1", ACME)

    assert not search.is_whole
    assert len([span for span in spans if span.name == "GET /"]) == 3

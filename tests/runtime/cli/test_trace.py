"""``populace trace`` draws what all processes did for a request."""

import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from populace.cli.console import out
from populace.cli.main import app
from populace.telemetry.calls import Caller, SentCaller, caller_of, sent_caller, serving
from populace.telemetry.options import LOGS_DIRECTORY, TRACES_DIRECTORY, TraceOptions
from populace.telemetry.trace_files import spans_of_request
from populace.telemetry.tracing.setup import telemetry_setup
from populace.telemetry.tracing.spans import TRACER
from tests.runtime.telemetry.test_reading import Log
from tests.runtime.telemetry.written import options


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path))
    monkeypatch.setattr(out, "_width", 200)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ("trace", *arguments))


def serve_request(data: Path, request_id: str, *, share: float = 1.0, fails: bool = False) -> None:
    """Write what a gateway and a host do for a request, each with traces of its own."""
    sent: SentCaller | None = None
    target = TraceOptions("file", str(data / TRACES_DIRECTORY), share)
    end = telemetry_setup(options(data / LOGS_DIRECTORY, traces=target), "gateway")
    with serving(Caller(request_id)), TRACER.root("POST /v1/chat/completions", kind="server") as span:
        with TRACER.span("populace.host.begin_turn", kind="client"):
            sent = sent_caller()
        if fails:
            span.fail("503")
    end()
    end = telemetry_setup(options(data / LOGS_DIRECTORY, traces=target), "host", 1)
    with serving(caller_of(sent)), TRACER.span("populace.host.begin_turn", kind="server"):
        # A while ago, so that the times are long ones.
        began_s = time.monotonic() - 100_000.0
        TRACER.record("populace.mailbox.wait", began_s, began_s + 1.0)
    end()


@pytest.mark.parametrize("cells", [60, 80, 200])
def test_the_spans_of_all_processes_are_one_tree(
    data: Path, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", cells)
    serve_request(data, "other")
    serve_request(data, "mine")

    shown = run("mine")

    assert shown.exit_code == 0
    rows = shown.stdout.splitlines()
    shown_spans = [re.split(r"\s+(gateway-0|host-1)\s+", row)[:2] for row in rows]
    assert [(name.strip("│├└─ "), process) for name, process in shown_spans] == [
        ("POST /v1/chat/completions", "gateway-0"),
        ("populace.host.begin_turn", "gateway-0"),
        ("populace.host.begin_turn", "host-1"),
        ("populace.mailbox.wait", "host-1"),
    ]
    assert "1000.0 ms" in rows[-1]
    assert {len(row.rstrip()) for row in rows} == {len(rows[0].rstrip())}
    assert all("━" in row for row in rows)


def test_json_has_the_spans_that_the_function_returns(data: Path) -> None:
    serve_request(data, "mine")

    rows = [json.loads(line) for line in run("mine", "--json").stdout.splitlines()]

    found = spans_of_request(data / TRACES_DIRECTORY, "mine")
    assert [row["span_id"] for row in rows] == [span.span_id for span in found]
    assert {span.process for span in found} == {"gateway-0", "host-1"}
    assert len({span.trace_id for span in found}) == 1


def test_attributes_and_errors_are_shown(data: Path) -> None:
    serve_request(data, "mine", share=0.0, fails=True)

    shown = run("mine", "--attributes").stdout

    assert " 503\n" in shown
    assert "populace.request_id = mine" in shown
    # The host's part did not fail, and is not sampled.
    assert "host-1" not in shown


def test_without_traces_it_says_how_to_have_some(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("mine")

    assert shown.exit_code == 1
    assert "POPULACE_TELEMETRY=off" in " ".join(shown.stderr.split())

    monkeypatch.setenv("POPULACE_TELEMETRY", "otlp")
    assert "they go elsewhere" in " ".join(run("mine").stderr.split())


def test_an_unknown_request_and_one_that_was_not_sampled_are_told_apart(data: Path) -> None:
    serve_request(data, "seen")
    serve_request(data, "unsampled", share=0.0)
    Log(data / LOGS_DIRECTORY, "gateway-0").write(0, "it was served", request_id="unsampled")

    unknown, unsampled = run("never"), run("unsampled")

    assert (unknown.exit_code, unsampled.exit_code) == (1, 1)
    assert "No request never is in the traces" in " ".join(unknown.stderr.split())
    assert "The request unsampled was served" in " ".join(unsampled.stderr.split())
    assert "POPULACE_TELEMETRY_SAMPLE" in unsampled.stderr


def test_the_folder_is_the_settings_or_the_options(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_request(data, "mine")
    (data / TRACES_DIRECTORY).rename(tmp_path / "moved")

    assert run("mine").exit_code == 1
    assert run("mine", "--folder", str(tmp_path / "moved")).exit_code == 0
    monkeypatch.setenv("POPULACE_TELEMETRY", f"file:{tmp_path / 'moved'}")
    assert run("mine").exit_code == 0


def test_a_torn_line_is_passed_over(data: Path) -> None:
    serve_request(data, "mine")
    file = data / TRACES_DIRECTORY / "gateway-0.jsonl"
    file.write_bytes(b'{"resourceSpans":[{"x":"mine"\n' + file.read_bytes() + b'{"resourceSpans":[{"mine"')

    assert len(spans_of_request(data / TRACES_DIRECTORY, "mine")) == 4


def test_requests_that_join_each_others_traces_a_thousand_deep_are_drawn(data: Path) -> None:
    target = TraceOptions("file", str(data / TRACES_DIRECTORY), 1.0)
    end = telemetry_setup(options(data / LOGS_DIRECTORY, traces=target), "gateway")
    former: bytes | None = None
    with serving(Caller("mine")):
        for _ in range(1200):
            span = TRACER.root("POST /v1/embeddings", joined=former)
            former = span.trace
            span.end()
    end()

    shown = run("mine")

    assert shown.exit_code == 0
    assert shown.stdout.count("POST /v1/embeddings") == 1200


def test_without_a_request_the_newest_are_listed(data: Path) -> None:
    for number in range(3):
        serve_request(data, f"req_{number}", fails=number == 1)

    rows = [row for row in run().stdout.splitlines() if "req_" in row]

    assert [re.findall(r"req_\d", row) for row in rows] == [["req_0"], ["req_1"], ["req_2"]]
    assert "503" in rows[1]
    assert "req_0" not in run("--limit", "2").stdout
    assert re.findall(r"req_\d", run("--failed").stdout) == ["req_1"]
    listed = [json.loads(line) for line in run("--slowest", "--json").stdout.splitlines()]
    seconds = [row["ended_ns"] - row["began_ns"] for row in listed]
    assert len(seconds) == 3
    assert seconds == sorted(seconds)


def test_a_list_without_traces_says_why(data: Path) -> None:
    assert "POPULACE_TELEMETRY=off" in " ".join(run().stderr.split())
    serve_request(data, "mine")
    assert "No request that failed" in " ".join(run("--failed").stderr.split())

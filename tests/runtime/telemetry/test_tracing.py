"""Spans are named for their request, hold up nothing, and are not there while tracing is off."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes

from populace.actors import span_names as names
from populace.actors.turn import ModelId
from populace.settings.environment import process_environment
from populace.storage.records.named import Named
from populace.telemetry.calls import Caller, caller_of, current_caller, sent_caller, serving
from populace.telemetry.options import TraceOptions
from populace.telemetry.resource import process_resource
from populace.telemetry.traceparent import header_of, trace_of
from populace.telemetry.tracing import kept_parts
from populace.telemetry.tracing.export_queue import QUEUED_MAX
from populace.telemetry.tracing.own_process import own_process_use
from populace.telemetry.tracing.provider import start_traces
from populace.telemetry.tracing.setup import telemetry_setup, tracing_setup
from populace.telemetry.tracing.spans import TRACER, UNRECORDED
from tests.runtime.telemetry.recorded import dead_collector, id_of, recording, told, trace_id_of
from tests.runtime.telemetry.written import options

OFF = """
import importlib, sys
from pathlib import Path
for name in sys.argv[3:]:
    importlib.import_module(name)
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.tracing.setup import telemetry_setup
from populace.telemetry.tracing.spans import TRACER

end = telemetry_setup(TelemetryOptions(Path(sys.argv[1]), b"k" * 32), "gateway")
with TRACER.root("request"), TRACER.span("part") as span:
    span.set("number", 1)
TRACER.record("stage", 0.0, 1.0)
end()
print([name for name in sys.modules if name.startswith(sys.argv[2])])
"""


@pytest.mark.parametrize(
    ("none_of", "modules"),
    [
        (
            "opentelemetry",
            ["populace.cli.main", "populace.gateway.app", "populace.engines.traced_engine"],
        ),
        # They import Ray Serve, which loads the SDK.
        (
            "opentelemetry.exporter",
            [
                "populace.hosting.host_actor",
                "populace.trainer.actor",
                "populace.gateway.deployment",
                "populace.engines.replica",
            ],
        ),
    ],
)
def test_while_it_is_off_nothing_of_opentelemetry_is_imported(
    tmp_path: Path, none_of: str, modules: list[str]
) -> None:
    shown = subprocess.run(
        [sys.executable, "-P", "-c", OFF, str(tmp_path), none_of, *modules],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    ).stdout

    assert shown == "[]\n"


def test_a_span_outside_of_a_trace_is_not_recorded() -> None:
    with recording() as spans:
        assert TRACER.span("part") is UNRECORDED
        TRACER.record("stage", 0.0, 1.0)
        assert spans() == ()


def test_spans_of_another_process_are_below_the_call_that_brought_them() -> None:
    with recording() as spans:
        with serving(Caller("mine")), TRACER.root("request"), TRACER.span("call", kind="client"):
            sent = sent_caller()
        with serving(caller_of(sent)), TRACER.span("work", kind="server"):
            TRACER.record("stage", 1.0, 2.5)
            assert current_caller().request_id == "mine"
        found = spans()

    [work] = [span for span in found if span.name == "work"]
    [stage] = [span for span in found if span.name == "stage"]
    assert work.parent is not None
    assert stage.parent is not None
    assert stage.parent.span_id == id_of(work)
    [call] = [span for span in found if span.name == "call"]
    assert work.parent.span_id == id_of(call)
    assert (stage.end_time or 0) - (stage.start_time or 0) == 1_500_000_000
    assert len({trace_id_of(span) for span in found}) == 1


def test_a_names_hash_stands_for_it_and_no_error_is_quoted() -> None:
    person = ModelId("acme", "marked-name")

    with recording() as spans:
        with suppress(ValueError), TRACER.root("request", {names.MODEL: person}) as span:
            span.set("tenant", Named("marked-name"))
            span.set("said", "it said “marked words”")
            span.set("list", ["marked"])
            span.set("tuple", ("a reason", Named("marked-name")))
            raise ValueError("marked word")
        [found] = spans()

    assert "marked" not in str(found.to_json())
    assert told(found)[names.ERROR_TYPE] == "ValueError"
    assert len(str(told(found)[names.MODEL])) == 33


def test_a_cancelled_reader_is_no_error() -> None:
    with recording() as spans:
        with pytest.raises(asyncio.CancelledError), TRACER.root("request"):
            raise asyncio.CancelledError
        [found] = spans()

    assert names.ERROR_TYPE not in told(found)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_a_process_leaves_open_at_its_end_is_exported_as_failed(share: float) -> None:
    with recording(share=share) as ended:
        request = TRACER.root("request")
        with request.current():
            stream = TRACER.span("stream")
            with TRACER.span("wait"):
                pass
        spans = {span.name: told(span).get(names.ERROR_TYPE) for span in ended()}
        request.end()
        stream.end()

    assert spans == {"request": names.PROCESS_ENDED, "stream": names.PROCESS_ENDED, "wait": None}
    assert len(ended()) == len(spans), "each is exported once"


def test_a_share_of_the_traces_is_sampled_and_each_whole() -> None:
    with recording(share=0.5) as spans:
        for _ in range(400):
            with TRACER.root("request"), TRACER.span("part"):
                pass
        found = spans()

    traces = {trace_id_of(span) for span in found}
    assert 100 < len(traces) < 300
    assert len(found) == 2 * len(traces)


def test_what_ends_after_its_request_is_kept_if_that_failed() -> None:
    with recording(share=0.0) as spans:
        for fails in (True, False):
            root = TRACER.root("failed" if fails else "well")
            with root.current():
                late = TRACER.span("late")
            if fails:
                root.fail("503")
            root.end()
            late.end()
        found = spans()

    assert sorted(span.name for span in found) == ["failed", "late"]


def test_of_a_large_part_its_first_span_and_its_failed_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_parts, "SPANS_MAX", 2)

    with recording(share=0.0) as spans:
        with TRACER.root("request"):
            for number in range(5):
                with TRACER.span(f"well {number}"):
                    pass
            for number in range(5):
                with suppress(ValueError), TRACER.span(f"failed {number}"):
                    raise ValueError
        assert TRACER.dropped == 6
        found = spans()

    assert sorted(span.name for span in found) == ["failed 0", "failed 1", "request", "well 0", "well 1"]


def test_a_request_that_names_an_open_span_as_its_caller_fails_for_itself() -> None:
    """A reply that streams has told its span to its client, which may pass it on to other requests."""
    with recording(share=0.0) as spans:
        streaming = TRACER.root("streaming")
        for _ in range(300):
            below = TRACER.root("failing", joined=streaming.trace)
            below.fail("503")
            below.end()
        streaming.end()
        assert TRACER.dropped == 0
        found = spans()

    assert [span.name for span in found] == ["failing"] * 300


def test_a_part_with_many_open_spans_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_parts, "PARTS_MAX", 2)

    with recording(share=0.0) as spans:
        with suppress(ValueError), TRACER.root("request"):
            parts = [TRACER.span(f"part {number}") for number in range(3)]
            TRACER.root("other").end()
            for part in parts:
                part.end()
            raise ValueError
        assert TRACER.dropped == 0
        found = spans()

    assert sorted(span.name for span in found) == ["part 0", "part 1", "part 2", "request"]


def test_of_too_many_parts_the_oldest_is_dropped_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_parts, "PARTS_MAX", 2)

    with recording(share=0.0) as spans:
        roots = [TRACER.root(f"request {number}") for number in range(2)]
        with roots[0].current():
            with TRACER.span("ended"):
                pass
            late = TRACER.span("late")
        roots.append(TRACER.root("request 2"))
        dropped = TRACER.dropped
        for span in (late, *roots):
            span.fail("503")
            span.end()
        # All have ended, so there is room again.
        for number in range(3, 6):
            with suppress(ValueError), TRACER.root(f"request {number}"):
                raise ValueError
        assert TRACER.dropped == dropped == 3
        found = spans()

    assert [span.name for span in found] == [f"request {number}" for number in range(1, 6)]


@pytest.mark.parametrize(
    ("header", "again"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01"),
        (f" 00-{'a' * 32}-{'b' * 16}-00 ", f"00-{'a' * 32}-{'b' * 16}-00"),
        (f"cc-{'a' * 32}-{'b' * 16}-03-more", f"00-{'a' * 32}-{'b' * 16}-01"),
        (f"00-{'A' * 32}-{'b' * 16}-01", None),
        (f"ff-{'a' * 32}-{'b' * 16}-01", None),
        (f"00-{'0' * 32}-{'b' * 16}-01", None),
        (f"00-{'a' * 32}-{'0' * 16}-01", None),
        (f"00-{'a' * 32}-{'b' * 16}-01-more", None),
        (f"00-{'a' * 31}-{'b' * 16}-01", None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_as_its_specification_says(header: str, again: str | None) -> None:
    trace = trace_of(header)

    assert (None if trace is None else header_of(trace)) == again


def test_the_names_are_those_of_the_conventions() -> None:
    theirs = {
        value
        for module in (gen_ai_attributes, http_attributes, error_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = [value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)]

    conventional = [value for value in ours if value.startswith(("gen_ai.", "http.", "error."))]
    assert len(conventional) > 15
    assert [value for value in conventional if value not in theirs] == []


def test_a_dead_collector_costs_spans_and_nothing_else(tmp_path: Path) -> None:
    target = TraceOptions("otlp", dead_collector())
    traces = start_traces(options(tmp_path), target, "gateway", 0)
    end = tracing_setup(traces)
    count = 3 * QUEUED_MAX

    for _ in range(count):
        with TRACER.root("request"):
            pass
        assert traces.queue.waiting <= QUEUED_MAX
    traces.queue.close(0.0)

    assert own_process_use().spans_dropped == TRACER.dropped == count
    end()
    assert own_process_use().spans_dropped == 0, "tracing is off"
    assert traces.queue.waiting == 0


class Collector(BaseHTTPRequestHandler):
    """Takes spans by OTLP."""

    taken: list[ExportTraceServiceRequest] = []

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        self.taken.append(request)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@pytest.fixture
def collector() -> Generator[str]:
    Collector.taken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_the_spans_by_otlp(tmp_path: Path, collector: str) -> None:
    end = telemetry_setup(options(tmp_path / "logs", traces=TraceOptions("otlp", collector)), "host", 3)
    with serving(Caller("mine")), TRACER.root("request", {"number": 7}), TRACER.span("part"):
        pass
    end()

    [resource] = [spans for request in Collector.taken for spans in request.resource_spans]
    about = {row.key: row.value for row in resource.resource.attributes}
    assert about[names.SERVICE_NAME].string_value == "populace"
    assert (about[names.PROCESS].string_value, about[names.NUMBER].int_value) == ("host", 3)
    [scope] = resource.scope_spans
    assert [span.name for span in scope.spans] == ["part", "request"]
    assert scope.spans[0].parent_span_id == scope.spans[1].span_id


def test_the_console_gets_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end = telemetry_setup(options(tmp_path / "logs", traces=TraceOptions("console")), "host")
    with TRACER.root("request"):
        pass
    end()

    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "resourceSpans" in line]
    [span] = line["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["name"] == "request"


def test_the_sdks_own_switch_turns_traces_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    target = TraceOptions("file", str(tmp_path / "traces"))

    with recording():
        end = telemetry_setup(options(tmp_path / "logs", traces=target), "host")

        assert not TRACER.is_on
        end()


def test_a_setup_without_traces_ends_those_before(tmp_path: Path) -> None:
    with recording() as spans:
        with TRACER.root("first"):
            pass
        end = telemetry_setup(options(tmp_path / "logs"), "host")
        with TRACER.root("second"):
            pass
        assert not TRACER.is_on
        end()
        assert [span.name for span in spans()] == ["first"]


def test_a_process_is_named_by_its_place_and_not_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"populace.process": "x", "populace.number": "a", "service.instance.id": "b", "site": "north"}
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", ",".join(f"{key}={value}" for key, value in theirs.items())
    )

    about = process_resource("host", 3).attributes

    assert (about[names.PROCESS], about[names.NUMBER], about["site"]) == ("host", 3, "north")
    assert str(about[names.SERVICE_INSTANCE]).endswith("/host-3")


def test_a_second_setup_ends_the_first(tmp_path: Path) -> None:
    with recording() as spans:
        with TRACER.root("first"):
            pass
        other = TraceOptions("file", str(tmp_path / "traces"))
        end = telemetry_setup(options(tmp_path / "logs", traces=other), "host")
        with TRACER.root("second"):
            pass
        end()
        assert not TRACER.is_on
        assert [span.name for span in spans()] == ["first"]

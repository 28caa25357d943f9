"""A turn of a running Populace is one tree over gateway, host and replica, and a training one of its own."""

import time
import uuid
from pathlib import Path

import pytest

from populace.actors import span_names as names
from populace.actors.errors import PromptTooLong
from populace.telemetry.options import TRACES_DIRECTORY
from populace.telemetry.trace_files import TraceSpan, spans_of_request
from tests.end_to_end.served import Served, ask
from tests.limits import HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray]

CHAT = "/v1/chat/completions"
IN_HOST = {
    f"{names.HOST_CALL}.begin_turn",
    f"{names.HOST_CALL}.finish_turn",
    names.MAILBOX_WAIT,
    names.COMMIT,
    names.FSYNC,
}
IN_REPLICA = {names.GENERATE, names.QUEUE, names.PREFILL, names.DECODE}


def test_a_turn_is_one_tree_over_all_processes(served: Served) -> None:
    mark = f"marked-{uuid.uuid4().hex[:8]}"
    ada = served.create(f"{mark}-name")
    body = {"model": ada, "messages": ask(f"{mark}-word"), "max_tokens": 8}
    requests = {f"{mark[7:]}-whole": False, f"{mark[7:]}-streamed": True}
    for request_id, stream in requests.items():
        reply = served.call(
            "POST", CHAT, json={**body, "stream": stream}, headers={"X-Request-Id": request_id}
        )
        assert reply.status_code == 200
        assert reply.headers["traceparent"].endswith("-01")
    refused = served.call("POST", CHAT, json={**body, "messages": ask(f"{mark}-word " * 3000)})
    assert refused.json()["error"]["code"] == PromptTooLong.code

    folder = served.data / TRACES_DIRECTORY
    for request_id in requests:
        spans = whole_trace(folder, request_id)
        known = {span.span_id for span in spans}
        assert [span.name for span in spans if span.parent_id not in known] == [f"POST {CHAT}"]
        assert [span.error for span in spans if span.error] == []
        replica = [span for span in spans if span.process.startswith("replica")]
        [generate] = [span for span in replica if span.name == names.GENERATE]
        stages = [next(span for span in replica if span.name == name) for name in (names.QUEUE, names.DECODE)]
        assert generate.began_ns <= stages[0].began_ns <= stages[1].ended_ns <= generate.ended_ns
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    logged = b"".join(path.read_bytes() for path in served.ray_logs().rglob("*") if path.is_file())
    assert b"Request failed." in logged, "Serve logs in words of its own what a replica refused"
    assert mark.encode() not in written + logged
    assert b"CALL generate" not in logged, "a line for each reply"


def whole_trace(folder: Path, request_id: str) -> tuple[TraceSpan, ...]:
    """Wait until each process has written its part: they do so beside the requests."""
    give_up = time.monotonic() + HANG_SECONDS
    while time.monotonic() < give_up:
        spans = spans_of_request(folder, request_id)
        in_host = {span.name for span in spans if span.process.startswith("host")}
        in_replica = {span.name for span in spans if span.process.startswith("replica")}
        roots = {span.name for span in spans if span.process.startswith("gateway")}
        if in_host >= IN_HOST and in_replica >= IN_REPLICA and f"POST {CHAT}" in roots:
            return spans
        time.sleep(0.2)
    raise AssertionError(f"no whole trace of {request_id}: {spans_of_request(folder, request_id)}")

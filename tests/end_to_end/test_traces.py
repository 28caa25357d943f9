"""A turn of a running Populace is one tree over gateway, host and replica, and a training one of its own."""

from pathlib import Path

import pytest

from populace.actors import span_names as names
from populace.actors.errors import PromptTooLong
from populace.cluster.serve import choose_engine
from populace.settings.settings import Settings
from populace.telemetry.options import TRACES_DIRECTORY
from populace.telemetry.trace_files import spans_of_request
from tests.end_to_end.served import ask, serve

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


def test_a_turn_is_one_tree_over_all_processes(
    tmp_path: Path, memory_module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPULACE_TELEMETRY", "file")
    engine = choose_engine(Settings.from_environment())
    with serve(tmp_path, engine=engine, memory_module=memory_module) as served:
        ada = served.create("marked-name")
        body = {"model": ada, "messages": ask("marked-word"), "max_tokens": 8}
        for request_id, stream in (("whole", False), ("streamed", True)):
            reply = served.call(
                "POST", CHAT, json={**body, "stream": stream}, headers={"X-Request-Id": request_id}
            )
            assert reply.status_code == 200
            assert reply.headers["traceparent"].endswith("-01")
        refused = served.call("POST", CHAT, json={**body, "messages": ask("marked-word " * 3000)})
        assert refused.json()["error"]["code"] == PromptTooLong.code
        of_ray = served.ray_logs()

    # Each process has written what it did by its end.
    folder = served.data / TRACES_DIRECTORY
    for request_id in ("whole", "streamed"):
        spans = spans_of_request(folder, request_id)
        known = {span.span_id for span in spans}
        assert [span.name for span in spans if span.parent_id not in known] == [f"POST {CHAT}"]
        assert [span.error for span in spans if span.error] == []
        assert {span.name for span in spans if span.process.startswith("host")} >= IN_HOST
        replica = [span for span in spans if span.process.startswith("replica")]
        assert {span.name for span in replica} >= IN_REPLICA
        [generate] = [span for span in replica if span.name == names.GENERATE]
        stages = [next(span for span in replica if span.name == name) for name in (names.QUEUE, names.DECODE)]
        assert generate.began_ns <= stages[0].began_ns <= stages[1].ended_ns <= generate.ended_ns
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    logged = b"".join(path.read_bytes() for path in of_ray.rglob("*") if path.is_file())
    assert b"Request failed." in logged, "Serve logs in words of its own what a replica refused"
    assert [mark for mark in (b"marked-name", b"marked-word") if mark in written + logged] == []
    assert b"CALL generate" not in logged, "a line for each reply"

"""A turn is one connected tree of spans, from its request to its commit."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from populace.actors import span_names as names
from populace.actors.errors import EngineUnavailable
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.storage.records.errors import PopulaceError
from populace.telemetry.options import TraceOptions
from populace.telemetry.trace_files import spans_of_request
from populace.telemetry.traceparent import header_of, trace_of
from populace.telemetry.tracing.provider import start_traces
from populace.telemetry.tracing.setup import telemetry_setup, tracing_setup
from populace.trainer.job_traces import JobTraces
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE
from tests.runtime.gateway.test_logs import MARKS, NAME, use_everything
from tests.runtime.telemetry.recorded import dead_collector, id_of, recording, told, trace_id_of, tree
from tests.runtime.telemetry.written import options

CHAT = "/v1/chat/completions"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

TURN = [
    f"POST {CHAT}",
    "  populace.host.keys.find",
    "  populace.host.begin_turn",
    "    populace.activate",
    "    populace.mailbox.wait",
    "    populace.retrieve",
    "  populace.host.accept_turn",
    "    populace.commit",
    "      populace.store.fsync",
    f"  chat {BASE.name}",
    "  populace.host.finish_turn",
    "    populace.commit",
    "      populace.store.fsync",
]


async def test_a_turn_is_one_tree(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        await client.post(CHAT, json=chat_body(max_tokens=7), headers={"x-request-id": "mine"})
        found = spans()

    assert tree(found) == TURN
    assert len({trace_id_of(span) for span in found}) == 1
    attributes = {span.name: told(span) for span in found}
    request, chat = attributes[f"POST {CHAT}"], attributes[f"chat {BASE.name}"]
    assert request[names.REQUEST_ID] == "mine"
    assert (request[names.HTTP_STATUS], request[names.HTTP_ROUTE]) == (200, CHAT)
    assert (chat[names.MAX_TOKENS], chat[names.OUTPUT_TOKENS], chat[names.FINISHED]) == (7, 3, True)
    assert (chat[names.REQUEST_MODEL], chat[names.FINISH_REASONS]) == (BASE.name, ("stop",))
    assert attributes[names.COMMIT][names.LOG_POSITION] == 0


async def test_a_streamed_turn_is_the_same_tree(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        await client.post(CHAT, json=chat_body(stream=True))
        found = spans()

    assert tree(found) == TURN


async def test_the_callers_trace_is_joined_and_named_in_the_response(client: httpx.AsyncClient) -> None:
    with recording(share=0.0) as spans:
        response = await client.post(CHAT, json=chat_body(), headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        found = spans()

    assert {f"{trace_id_of(span):032x}" for span in found} == {TRACE}
    [root] = [span for span in found if span.name == f"POST {CHAT}"]
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == SPAN
    assert response.headers["traceparent"] == f"00-{TRACE}-{id_of(root):016x}-01"


async def test_a_caller_that_does_not_sample_is_followed(client: httpx.AsyncClient) -> None:
    with recording(share=1.0) as spans:
        response = await client.post(CHAT, json=chat_body(), headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
        found = spans()

    assert found == ()
    assert response.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert response.headers["traceparent"].endswith("-00")


@pytest.mark.parametrize("key", ["", "Bearer nonsense", f"Bearer populace_{'0' * 16}_{'x' * 43}"])
@pytest.mark.parametrize(("share", "flags", "exported"), [(0.0, "01", 0), (1.0, "00", 1)])
async def test_without_a_valid_key_a_traceparent_decides_nothing(
    client: httpx.AsyncClient, key: str, share: float, flags: str, exported: int
) -> None:
    headers = {"authorization": key, "traceparent": f"00-{TRACE}-{SPAN}-{flags}"}

    with recording(share=share) as spans:
        response = await client.post(CHAT, json=chat_body(), headers=headers)
        found = [span for span in spans() if span.name == f"POST {CHAT}"]

    assert response.status_code == 401
    assert len(found) == exported
    assert TRACE not in response.headers["traceparent"]
    assert TRACE not in {f"{trace_id_of(span):032x}" for span in found}


async def test_a_header_that_is_no_traceparent_begins_a_trace(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        for header in ("x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-x"):
            await client.post(CHAT, json=chat_body(), headers={"traceparent": header})
        found = spans()

    roots = [span for span in found if span.name == f"POST {CHAT}"]
    assert [span.parent for span in roots] == [None] * 4
    assert TRACE not in {f"{trace_id_of(span):032x}" for span in roots}


async def test_of_unsampled_traces_those_that_failed_are_exported(
    population: Population, client: httpx.AsyncClient
) -> None:
    with recording(share=0.0) as spans:
        await client.post(CHAT, json=chat_body())
        population.engine.failure = EngineUnavailable("gone")
        await client.post(CHAT, json=chat_body(), headers={"x-request-id": "failed"})
        population.engine.failure = None
        await client.post(CHAT, json=chat_body())
        found = spans()

    [root] = [span for span in found if span.name == f"POST {CHAT}"]
    assert told(root)[names.REQUEST_ID] == "failed"
    assert told(root)[names.ERROR_TYPE] == "503"
    [chat] = [span for span in found if span.name == f"chat {BASE.name}"]
    assert told(chat)[names.ERROR_TYPE] == EngineUnavailable.code
    assert {trace_id_of(span) for span in found} == {trace_id_of(root)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat_body(stream=True)),
        ("/v1/responses", {"model": "ada", "input": "hello", "stream": True}),
    ],
)
@pytest.mark.parametrize(
    ("failure", "error"),
    [(EngineUnavailable("gone"), EngineUnavailable.code), (RuntimeError("a bug"), PopulaceError.code)],
)
async def test_a_stream_that_fails_after_its_first_token_is_a_failed_request(
    population: Population,
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    failure: Exception,
    error: str,
) -> None:
    population.engine.fail_before, population.engine.failure = 1, failure

    with recording(share=0.0) as spans:
        response = await client.post(path, json=body)
        found = spans()

    assert response.status_code == 200
    [root] = [span for span in found if span.name == f"POST {path}"]
    assert told(root)[names.ERROR_TYPE] == error


async def test_who_is_asked_how_they_are_records_nothing(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert "traceparent" not in (await client.get(path)).headers
        assert spans() == ()


async def test_without_tracing_a_response_has_no_traceparent(client: httpx.AsyncClient) -> None:
    header = f"00-{TRACE}-{SPAN}-01"

    response = await client.post(CHAT, json=chat_body(), headers={"traceparent": header})

    assert "traceparent" not in response.headers
    trace = trace_of(header)
    assert trace is not None
    assert header_of(trace) == header


async def test_no_name_and_no_word_of_anybody_is_in_an_exported_byte(
    population: Population, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    folder = tmp_path / "traces"
    end = telemetry_setup(options(tmp_path / "logs", traces=TraceOptions("file", str(folder))), "gateway")
    await use_everything(population, client)
    assert (await client.delete(f"/v1/personal-models/{NAME}")).status_code == 404, "it was erased"
    end()

    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert written.count(names.COMMIT.encode()) > 5
    assert [mark for mark in MARKS if mark.encode() in written] == []


async def test_the_files_have_the_whole_turn(client: httpx.AsyncClient, tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    end = telemetry_setup(options(tmp_path / "logs", traces=TraceOptions("file", str(folder))), "gateway", 2)
    await client.post(CHAT, json=chat_body(), headers={"x-request-id": "mine"})
    await client.post(CHAT, json=chat_body(), headers={"x-request-id": "other"})
    end()

    spans = spans_of_request(folder, "mine")
    assert sorted(span.name for span in spans) == sorted(row.strip() for row in TURN)
    assert {span.process for span in spans} == {"gateway-2"}
    assert [span.error for span in spans if span.error] == []
    assert spans_of_request(folder, "no such") == ()


async def test_a_turn_goes_on_while_its_collector_is_dead(
    population: Population, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    target = TraceOptions("otlp", dead_collector())
    traces = start_traces(options(tmp_path), target, "gateway", 0)
    end = tracing_setup(traces)
    for _ in range(3):
        assert (await client.post(CHAT, json=chat_body())).status_code == 200
    traces.queue.close(0.0)
    end()

    # The key is looked for once, and the model activated.
    assert traces.queue.dropped == len(TURN) + 2 * (len(TURN) - 2)


async def test_after_a_restart_a_retry_is_a_tree_that_says_so(
    population: Population, client: httpx.AsyncClient
) -> None:
    key = {"Idempotency-Key": "once"}
    await client.post(CHAT, json=chat_body(), headers=key)
    population.restart()

    with recording() as spans:
        async with population.client() as again:
            await again.post(CHAT, json=chat_body(), headers={**key, "x-request-id": "again"})
        found = spans()

    assert tree(found) == [f"POST {CHAT}", "  populace.host.keys.find", "  populace.host.begin_turn"]
    [begun] = [span for span in found if span.name == "populace.host.begin_turn"]
    assert told(begun)[names.REPLAYED] is True


async def test_a_training_is_linked_to_the_turns_that_it_learned_from(
    population: Population, client: httpx.AsyncClient
) -> None:
    job = TrainingJob(ModelId("acme", "ada"), 0, TrainingOptions(), "running", "", 0)
    traces = JobTraces()

    with recording() as spans:
        await client.post(CHAT, json=chat_body("one"))
        await client.post(CHAT, json=chat_body("two"), headers={"Idempotency-Key": "keyed"})
        await client.post("/v1/responses", json={"model": "ada", "input": "three"})
        await client.post(CHAT, json=chat_body("four"), headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
        traces.note_turns(job, await population.log("ada"))
        traces.end(job.model, job.number, "promoted")
        found = spans()

    [training] = [span for span in found if span.name == names.TRAIN]
    asked = [span for span in found if span.name.startswith("POST")]
    # Not the one whose operation has a name of its caller's, nor the one that is not sampled.
    assert [link.context.span_id for link in training.links] == [id_of(asked[2]), id_of(asked[0])]
    assert told(training)[names.TURNS] == 4


async def test_embedding_is_a_span_too(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        await client.post("/v1/embeddings", json={"model": "base", "input": ["marked-word", "two"]})
        found = spans()

    assert tree(found)[:1] == ["POST /v1/embeddings"]
    [made] = [told(span) for span in found if span.name == f"embeddings {BASE.name}"]
    assert (made[names.OPERATION_NAME], made[names.INPUT_TOKENS]) == ("embeddings", 14)


async def test_a_client_that_leaves_its_embeddings_is_no_error(population: Population) -> None:
    population.engine.hold_before = 0
    asked = json.dumps({"model": "base", "input": "hello"}).encode()
    coming: list[Message] = [{"type": "http.request", "body": asked}]

    async def receive() -> Message:
        if coming:
            return coming.pop()
        await population.engine.held.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        """Drop it: the client has left."""

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/embeddings",
        "query_string": b"",
        "headers": [
            (b"authorization", f"Bearer {population.keys['acme']}".encode()),
            (b"content-type", b"application/json"),
        ],
    }
    with recording() as spans:
        await population.app(scope, receive, send)
        found = {span.name: told(span) for span in spans()}

    assert found["POST /v1/embeddings"][names.HTTP_STATUS] == 499
    assert names.ERROR_TYPE not in found[f"embeddings {BASE.name}"]


async def test_embeddings_that_take_too_long_are_an_error(population: Population) -> None:
    population.turn_seconds_max = 0.02
    population.app = population.make_app()
    population.engine.hold_before = 0

    with recording() as spans:
        async with population.client() as client:
            reply = await client.post("/v1/embeddings", json={"model": "base", "input": "hello"})
        found = {span.name: told(span) for span in spans()}

    assert reply.status_code == 504
    assert found[f"embeddings {BASE.name}"][names.ERROR_TYPE] == "TimeoutError"


async def test_several_choices_are_a_span_each(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        await client.post(CHAT, json=chat_body(n=3))
        found = spans()

    [root] = [span for span in found if span.name == f"POST {CHAT}"]
    chats = [span for span in found if span.name == f"chat {BASE.name}"]
    assert [span.parent and span.parent.span_id for span in chats] == [id_of(root)] * 3


async def test_what_a_client_makes_up_is_not_told(client: httpx.AsyncClient) -> None:
    with recording() as spans:
        await client.request("MARKED", "/v1/marked-path?marked=1", headers={"user-agent": "marked"})
        [found] = spans()

    assert found.name == "_OTHER"
    assert "marked" not in str(found.to_json()).lower()

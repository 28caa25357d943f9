"""The Python face over HTTP: the same verbs, values and errors as in the cluster, on the real gateway."""

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from populace.actors.access_errors import Unauthorized
from populace.actors.engine import Message, SamplingDefaults
from populace.actors.errors import (
    ClusterNotFound,
    HostUnavailable,
    InvalidName,
    InvalidRequest,
    TurnExpired,
)
from populace.actors.feedback import Opinion
from populace.actors.hosts import Revision
from populace.actors.request_log import RequestNotFound
from populace.actors.response_schema import schema_text
from populace.actors.span_names import HTTP_STATUS
from populace.actors.suites import suite_of
from populace.actors.turn import ModelId
from populace.adapters.random_adapter import write_random_adapter
from populace.client.async_model import AsyncModel
from populace.client.async_population import AsyncPopulation
from populace.client.chat_request import chat_request, peek_request
from populace.client.http_connection import HttpConnection, is_url
from populace.client.http_transport import HttpTransport
from populace.client.loop_thread import LoopThread
from populace.client.options import ChatOptions, SamplingOptions
from populace.client.remote_errors import error_in
from populace.storage.records.errors import (
    InteractionNotFound,
    ModelExists,
    ModelNotFound,
    OperationConflict,
    PopulaceError,
    RevisionNotFound,
)
from populace.storage.training.errors import SuiteNotFound
from populace.telemetry.log_setup import log_setup
from populace.telemetry.options import TraceOptions
from populace.telemetry.tracing.setup import telemetry_setup
from tests.runtime.archive.uploads import TARGETS, write_base
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_population import profile
from tests.runtime.telemetry.written import options

URL = "http://populace"
RECOMMENDED = SamplingDefaults._fields
SAID = (
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "repetition_detection",
    "min_p",
    "own_words_penalty",
)
RECOMMENDATION = (0.6, 0.95, 20, 1.1, True, 0.05, 1.2)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncGenerator[Population]:
    population = await Population.start(tmp_path)
    yield population
    population.close()


@pytest.fixture
async def remote(served: Population) -> AsyncGenerator[AsyncPopulation]:
    transport = httpx.ASGITransport(served.app)
    async with AsyncPopulation(
        await HttpConnection.open(URL, served.keys["acme"], transport=transport)
    ) as population:
        yield population


@pytest.fixture
async def ada(remote: AsyncPopulation) -> AsyncModel:
    return await remote.create("ada")


class Person(BaseModel):
    name: str


async def test_a_reply_is_held_to_a_pydantic_class(served: Population, ada: AsyncModel) -> None:
    served.engine.reply = ('{"name": "Ada"}',)

    turn = await ada.chat("Who?", response_format=Person)

    asked = served.engine.requests[-1].sampling.response_schema
    assert asked == schema_text(Person.model_json_schema())
    assert Person.model_validate_json(turn.reply) == Person(name="Ada")


async def test_every_parameter_of_sampling_is_the_same_over_http(served: Population, ada: AsyncModel) -> None:
    given: ChatOptions = {
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 3,
        "stop": ["end"],
        "logprobs": 2,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "ignore_eos": True,
        "repetition_penalty": 1.2,
        "own_words_penalty": 1.3,
        "min_p": 0.1,
        "logit_bias": {7: 100, 8: -1.5},
        "allowed_token_ids": [7, 8],
        "bad_words": ["no"],
        "stop_token_ids": [9],
        "min_tokens": 2,
        "include_stop": True,
        "skip_special_tokens": False,
        "repetition_detection": {"max_pattern_size": 64, "min_count": 4},
    }
    assert given.keys() == SamplingOptions.__annotations__.keys()

    await ada.chat("hello", **given)

    assert served.engine.requests[-1].sampling == chat_request(ada.id, "hello", **given).sampling


async def test_a_client_learns_whose_population_it_is_and_on_which_base(
    remote: AsyncPopulation, served: Population
) -> None:
    assert (remote.tenant, remote.base) == ("acme", served.engine.base)


async def test_what_was_said_is_the_turn_that_the_log_has(ada: AsyncModel, served: Population) -> None:
    first = await ada.chat("hello", temperature=0, context={"retrieve": 2})
    second = await ada.chat("and again", operation="once")
    again = await ada.chat("and again", operation="once")

    (logged_first, logged) = await served.log("ada")
    assert (first.position, first.reply, first.conversation) == (0, logged_first.reply, "main")
    assert (second.reply, second.completion_id) == (logged.reply, logged.completion_id)
    assert (again.position, again.replayed) == (1, True)
    assert [turn.reply for turn in await ada.log()] == [first.reply, second.reply]
    assert (await ada.log())[1].messages == logged.messages
    with pytest.raises(OperationConflict):
        await ada.chat("something else", operation="once")


async def test_a_conversation_goes_on_from_the_log_and_another_one_does_not(
    ada: AsyncModel, served: Population
) -> None:
    await ada.chat("hello")
    await ada.chat("again")
    await ada.chat("alone", conversation=None)
    turn = await ada.chat("anew", conversation="new")

    prompts = [request.prompt for request in served.engine.requests]
    assert [len(prompt) for prompt in prompts] == [1, 3, 1, 1]
    assert turn.conversation is None


async def test_a_reply_is_streamed_and_then_in_the_log(ada: AsyncModel, served: Population) -> None:
    stream = await ada.chat("hello", stream=True)
    texts = [text async for text in stream]

    (logged,) = await served.log("ada")
    assert len(texts) > 1
    assert "".join(texts) == logged.reply
    assert stream.interaction is not None
    assert (stream.interaction.position, stream.interaction.reply) == (0, logged.reply)
    replayed = await ada.chat("hello", stream=True, operation=logged.operation.removeprefix("key-"))
    assert "".join([text async for text in replayed]) == logged.reply


async def test_a_suite_is_stored_asked_shown_and_removed(
    ada: AsyncModel, served: Population, tmp_path: Path
) -> None:
    served.engine.reply = ("It is ", "Bruno.")
    file = tmp_path / "suite.jsonl"
    file.write_text('{"ask": "My dog?", "expect": "bruno"}\n{"ask": "My cat?", "expect": "Tom"}\n')
    with pytest.raises(SuiteNotFound):
        await ada.evaluate()

    result = await ada.evaluate(file)
    again = await ada.evaluate(revision="base")
    shown = await ada.suite()
    other = await ada.evaluate([{"ask": "My dog?", "expect": "It is Bruno.", "check": "exact"}])
    await ada.remove_suite()

    assert (result.model, result.revision, result.passed, result.total) == (ada.id, "base", 1, 2)
    assert [(row.ask, row.reply, row.passed) for row in result.rows] == [
        ("My dog?", "It is Bruno.", True),
        ("My cat?", "It is Bruno.", False),
    ]
    assert again == result
    assert shown == suite_of([question._asdict() for question in shown])
    assert other.passed == other.total == 1
    with pytest.raises(SuiteNotFound):
        await ada.suite()
    with pytest.raises(InvalidRequest, match="Line 1 of the suite"):
        await ada.evaluate([{"ask": "?"}])
    with pytest.raises(RevisionNotFound):
        await ada.evaluate([{"ask": "?", "expect": "x"}], "canary")
    assert await served.log("ada") == ()


async def test_a_peek_is_the_same_over_http_and_on_a_host_and_leaves_no_trace(
    ada: AsyncModel, served: Population
) -> None:
    turn = await ada.chat("hello")

    remote = await ada.peek("and again", temperature=0)
    local = await served.directory.peek(peek_request(ada.id, "and again", temperature=0))

    assert (remote.reply, local.reply) == ("reply 2 to you", "reply 3 to you")
    assert remote == replace(local, reply=remote.reply)
    assert (remote.model, remote.revision, remote.base) == (ada.id, "base", turn.base)
    assert (remote.memory_version, remote.completion_tokens) == (0, 3)
    _, seen, seen_here = served.engine.requests
    assert (seen.prompt, seen.sampling) == (seen_here.prompt, seen_here.sampling)
    assert len(seen.prompt) == 3
    assert [logged.position for logged in await ada.log()] == [0]


async def test_what_was_told_is_answered_and_named_over_http_as_on_a_host(
    ada: AsyncModel, served: Population
) -> None:
    await ada.chat("My dog is called Bruno.")
    served.engine.reply = ("Your dog is called Bruno.",)
    asked = "What is my dog called?"

    remote = await ada.peek(asked)
    local = await served.directory.peek(peek_request(ada.id, asked))
    untold = [
        await ada.peek(asked, context={"told": False}),
        await ada.chat(asked, context={"corrections": False, "told": False}),
    ]
    turn = await ada.chat(asked, context={"corrections": False})

    assert remote == local
    assert [made.retrieved for made in (remote, *untold, turn)] == [(0,), (), (), (0,)]


async def test_what_nobody_says_of_sampling_is_as_the_base_recommends_over_http_and_in_python(
    served: Population,
) -> None:
    served.engine.base = served.engine.base._replace(sampling=SamplingDefaults(*RECOMMENDATION))
    transport = httpx.ASGITransport(served.app)
    connection = await HttpConnection.open(URL, served.keys["acme"], transport=transport)
    async with AsyncPopulation(connection) as remote, served.client() as client:
        ada = await remote.create("ada")
        assert remote.base == served.engine.base

        await ada.chat("hello")
        await ada.chat(
            "hello",
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            repetition_penalty=1.0,
            repetition_detection={},
            min_p=0.0,
            own_words_penalty=1.0,
        )
        await ada.chat("hello", repetition_penalty=1.05)
        await client.post("/v1/chat/completions", json=chat_body())
        nulls: dict[str, Any] = dict.fromkeys(SAID)
        await client.post("/v1/chat/completions", json=chat_body(**nulls))
        off: tuple[Any, ...] = (0, 1, 0, 1, {}, 0, 1)
        explicit: dict[str, Any] = dict(zip(SAID, off, strict=True))
        await client.post("/v1/chat/completions", json=chat_body(**explicit))
        await client.post("/v1/chat/completions", json=chat_body(repetition_penalty=1.05))
        await client.post("/v1/completions", json={"model": "base", "prompt": "once"})

    used = [request.sampling for request in served.engine.requests]
    greedy = (0.0, 1.0, 0, 1.0, False, 0.0, 1.0)
    # Who says the one penalty does not get the other.
    penalised = (*RECOMMENDATION[:3], 1.05, *RECOMMENDATION[4:6], 1.0)
    assert [tuple(getattr(one, name) for name in RECOMMENDED) for one in used] == [
        RECOMMENDATION,
        greedy,
        penalised,
        RECOMMENDATION,
        RECOMMENDATION,
        greedy,
        penalised,
        (*RECOMMENDATION[:4], False, *RECOMMENDATION[5:]),  # a text is no chat
    ]


@pytest.mark.parametrize("alias", ["base", "abcdef1"])
async def test_a_turn_with_what_no_alias_names_is_refused_as_on_a_host(
    ada: AsyncModel, served: Population, alias: str
) -> None:
    with pytest.raises(RevisionNotFound) as over_http:
        await ada.chat("hello", alias=alias)
    with pytest.raises(RevisionNotFound) as on_host:
        await served.directory.chat(chat_request(ada.id, "hello", alias=alias))

    assert str(over_http.value) == str(on_host.value)


async def test_a_turn_over_http_ends_by_its_callers_deadline(ada: AsyncModel, served: Population) -> None:
    served.engine.hold_before = 0
    with pytest.raises(TurnExpired):
        await ada.chat("hello", turn_seconds_max=0.5)  # which a busy machine needs to accept the message
    with pytest.raises(TurnExpired):
        await ada.peek("hello", turn_seconds_max=0.05)

    assert [turn.answer for turn in await served.log("ada")] == [None]


async def test_a_turn_over_http_may_take_as_long_as_the_server_lets_it(served: Population) -> None:
    served.turn_seconds_max = 0.05
    served.app = served.make_app()
    served.engine.hold_before = 0
    transport = httpx.ASGITransport(served.app)
    async with AsyncPopulation(
        await HttpConnection.open(URL, served.keys["acme"], transport=transport)
    ) as remote:
        ada = await remote.create("ada")
        with pytest.raises(TurnExpired):
            await ada.chat("hello")
        with pytest.raises(TurnExpired):
            await ada.chat("hello", turn_seconds_max=1000)


@pytest.mark.parametrize("key", ["größe", "日本", "a b", "a\tb", "k" * 255, "key-k"])
async def test_an_operation_is_the_same_over_http_and_on_a_host(
    ada: AsyncModel, served: Population, key: str
) -> None:
    first = await ada.chat("hello", operation=key)
    again = await served.directory.chat(chat_request(ada.id, "hello", operation=key))
    await ada.feedback(first, thumb="up", operation=key)
    await served.directory.give_feedback(ada.id, 0, Opinion(thumb=True), key)

    assert (again.position, again.replayed) == (first.position, True)
    assert len(await ada.opinions()) == 1


@pytest.mark.parametrize("key", ["a\nb", " a ", 5])
async def test_an_operation_that_no_header_carries_is_refused_before_it_is_sent(
    ada: AsyncModel, key: Any
) -> None:
    for refused in (
        ada.chat("hello", operation=key),
        ada.feedback(0, thumb="up", operation=key),
        ada.train(operation=key),
        ada.forget(0, operation=key),
    ):
        with pytest.raises(InvalidRequest) as told:
            await refused
        assert told.value.parameter == "operation"


async def test_any_revision_is_peeked_at_by_its_digest(ada: AsyncModel, served: Population) -> None:
    revision = Revision("d" * 64, served.engine.base.fingerprint, "import", None, 4, 100, 1)
    await served.directory.publish_revision(ada.id, revision)

    seen = [await ada.peek("hello", alias=alias) for alias in ("latest", "dd", "d" * 64, "base")]

    assert [peek.revision for peek in seen] == [*["d" * 64] * 3, "base"]
    with pytest.raises(RevisionNotFound):
        await ada.peek("hello", alias="e" * 64)


async def test_models_are_created_listed_forked_and_erased(remote: AsyncPopulation) -> None:
    ada = await remote.create("ada")
    await ada.chat("hello")
    assert (await remote.create("ada", exist_ok=True)).id == ModelId("acme", "ada")
    with pytest.raises(ModelExists, match="`ada` exists already"):
        await remote.create("ada")
    bob = await ada.fork("bob")

    assert (await bob.show()).log_position == 1
    assert [view.model.name async for view in remote.models()] == ["ada", "bob"]
    assert [view.model.name async for view in remote.models("b")] == ["bob"]
    await bob.erase()
    with pytest.raises(ModelNotFound) as missing:
        await bob.show()
    assert missing.value.model == "bob"
    with pytest.raises(InvalidName):
        remote.model("a/b")


async def test_feedback_is_kept_and_read(ada: AsyncModel) -> None:
    turn = await ada.chat("hello")
    given = [
        await ada.feedback(turn, thumb="down", correction="Hi!"),
        await ada.feedback(turn.completion_id, rating=0.5),
    ]

    opinions = await ada.opinions()
    assert len(opinions) == 2
    assert all(one in opinions for one in given)
    with pytest.raises(InteractionNotFound):
        await ada.feedback(7, thumb=True)


async def test_a_turn_of_another_model_is_none_of_this_one(remote: AsyncPopulation, ada: AsyncModel) -> None:
    bob = await remote.create("bob")
    await ada.chat("hello")
    turn = await bob.chat("hello")

    with pytest.raises(InvalidRequest, match="a turn of `bob`, not of `ada`"):
        await ada.forget(turn)
    with pytest.raises(InvalidRequest, match="a turn of `bob`, not of `ada`"):
        await ada.feedback(turn, thumb=True)
    assert not (await ada.log())[0].forgotten


@pytest.mark.parametrize("questions", ["", "x" * 70_000, ["\ud800"], [1], ["Who am I?"] * 65, None, 5])
async def test_what_is_no_question_is_refused_before_it_is_sent(ada: AsyncModel, questions: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ada.known(questions)

    assert refused.value.parameter == "question"


@pytest.mark.parametrize("message", [{"role": "user", "content": "hi"}, Message("user", "hi")])
async def test_one_message_of_a_list_is_told_to_be_put_into_one(ada: AsyncModel, message: Any) -> None:
    with pytest.raises(InvalidRequest, match="put it into"):
        await ada.chat(message)


async def test_turns_are_found_and_forgotten(ada: AsyncModel) -> None:
    await ada.chat("My password is tulip.")
    await ada.chat("Nice weather.")

    found = await ada.forget("tulip")
    assert (found.found_at, found.positions) == ((0,), ())
    forgotten = await ada.forget("tulip", confirm=True)
    assert forgotten.positions == (0,)
    assert [turn.forgotten for turn in await ada.log()][:2] == [True, False]


async def test_consent_to_be_learned_from_is_given_and_withdrawn(ada: AsyncModel) -> None:
    assert not (await ada.contribution()).contributes

    given = await ada.contribute()

    assert given.contributes
    assert await ada.contribution() == given
    assert (await ada.show()).contributes
    left = await ada.contribute(False)
    assert (left.contributes, left.id) == (False, given.id)
    assert not (await ada.show()).contributes


async def test_the_population_is_shared_with_and_asked(remote: AsyncPopulation) -> None:
    for name in ("ada", "bob", "cyd"):
        model = await remote.create(name)
        member = await model.share("texts")
        assert member is not None
        assert member.model == ModelId("acme", name)

    heard: list[int] = []
    answer = await remote.ask(
        "Say something.", k=3, kind="words", on_vote=lambda so_far: heard.append(len(so_far.votes))
    )
    assert answer.is_final
    assert heard
    assert len(await remote.members()) == 3
    assert await remote.model("ada").share(None) is None
    assert len(await remote.members()) == 2


async def test_a_report_of_the_population_is_read(remote: AsyncPopulation, served: Population) -> None:
    for name in ("ada", "bob"):
        await (await remote.create(name)).share("votes")
    await profile(served, "ada", seed=1)

    report = await remote.report()

    assert [(place.model, place.sharing) for place in report.members] == [("ada", "votes")]
    assert (report.unprofiled, report.total, report.profiled) == (("bob",), 2, 1)
    assert math.isnan(report.disagreement)


async def test_the_log_and_the_trace_of_a_request_are_read(
    remote: AsyncPopulation, served: Population
) -> None:
    traces = TraceOptions("file", str(served.traces_directory))
    end = telemetry_setup(options(served.logs_directory, log_level="debug", traces=traces), "gateway")
    async with served.client() as client:
        await client.get("/v1/models", headers={"x-request-id": "mine"})
    end()
    end = log_setup(options(served.logs_directory), "gateway")

    found = await remote.request_log("mine")
    with pytest.raises(RequestNotFound) as lost:
        await remote.request_log("another")
    with pytest.raises(InvalidRequest):
        await remote.request_log("no/id")
    end()

    assert [line.message.split(" in ")[0] for line in found.lines] == ["GET /v1/models was answered with 200"]
    assert (found.request_id, found.is_whole, lost.value.request) == ("mine", True, "another")
    request, *calls = found.trace
    assert (request.name, request.parent, request.attributes[HTTP_STATUS]) == ("GET /v1/models", None, 200)
    assert {call.parent for call in calls} == {request.id}


async def test_a_training_is_asked_for_listed_and_cancelled(ada: AsyncModel) -> None:
    turn = await ada.chat("hello")
    await ada.feedback(turn, correction="Hi!")
    job = await ada.train(rank=2, seconds_max=0)

    assert (job.model, job.options.rank, job.is_open) == (ModelId("acme", "ada"), 2, True)
    assert await ada.jobs() == (job,)
    assert (await ada.cancel_training()).state == "cancelled"
    with pytest.raises(InvalidRequest, match="Did you mean `rank`"):
        await ada.train(rnk=2)  # type: ignore[call-arg]


async def test_a_model_is_exported_and_imported(remote: AsyncPopulation, tmp_path: Path) -> None:
    ada = await remote.create("ada")
    await ada.chat("hello")
    target = await ada.export(tmp_path / "ada.zip")
    with pytest.raises(InvalidRequest, match="exists already"):
        await ada.export(target)
    bob = await remote.import_model(target, "bob")

    assert [turn.reply for turn in await bob.log()] == [turn.reply for turn in await ada.log()]


async def test_errors_are_the_ones_of_the_server(remote: AsyncPopulation) -> None:
    with pytest.raises(ModelNotFound):
        await remote.model("nobody").chat("hello")
    with pytest.raises(InvalidRequest, match="temperature") as refused:
        await (await remote.create("ada")).chat("hello", temperature=9.0)
    assert refused.value.parameter == "temperature"
    with pytest.raises(InvalidRequest, match="cluster"):
        remote.model("ada").remote_chat("hello")


async def test_a_wrong_key_and_a_wrong_address_are_named(served: Population) -> None:
    with pytest.raises(Unauthorized, match="http://populace refused the API key"):
        await HttpConnection.open(URL, "populace_no_key", transport=httpx.ASGITransport(served.app))
    with pytest.raises(ClusterNotFound, match=r"No running Populace found at http://127.0.0.1:9"):
        await HttpConnection.open("http://127.0.0.1:9", "populace_no_key")
    elsewhere = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>It works!</html>"))
    with pytest.raises(ClusterNotFound, match="no Populace"):
        await HttpConnection.open(URL, "populace_no_key", transport=elsewhere)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://", "http://[::1", "http://a:b"])
async def test_an_address_that_no_server_has_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidRequest, match="http://host:8000") as refused:
        await HttpConnection.open(url, "populace_no_key")

    assert refused.value.parameter == "address"


async def test_white_space_around_a_key_is_no_part_of_it(served: Population) -> None:
    transport = httpx.ASGITransport(served.app)
    key = f" {served.keys['acme']}\r\n"

    async with AsyncPopulation(await HttpConnection.open(URL, key, transport=transport)) as population:
        assert population.tenant == "acme"


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", " ", "\x00"])
async def test_a_key_that_cannot_be_sent_is_refused_by_name(key: str) -> None:
    with pytest.raises(InvalidRequest, match="populace key create") as refused:
        await HttpConnection.open("http://127.0.0.1:9", key)

    assert refused.value.parameter == "api_key"


async def test_a_server_of_another_api_names_the_client_for_it(served: Population) -> None:
    async def newer(request: httpx.Request) -> httpx.Response:
        answer = await httpx.ASGITransport(served.app).handle_async_request(request)
        told = (await answer.aread()).replace(b'"api":1', b'"api":99')
        return httpx.Response(200, content=told)

    with pytest.raises(ClusterNotFound, match=r"install populace==\d"):
        await HttpConnection.open(URL, served.keys["acme"], transport=httpx.MockTransport(newer))


async def test_a_server_that_restarts_is_waited_for_and_one_that_refuses_is_not(served: Population) -> None:
    calls: list[str] = []

    async def restarting(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) == 1:
            raise httpx.ConnectError("refused")
        if len(calls) == 2:
            details = {"host": "h", "reason": "r"}
            body = {"error": {"message": "x", "code": "host_unavailable", "details": details}}
            return httpx.Response(503, json=body)
        return await httpx.ASGITransport(served.app).handle_async_request(request)

    http = HttpTransport(URL, served.keys["acme"], transport=httpx.MockTransport(restarting))
    connection = HttpConnection(http, "acme", served.engine.base)
    with pytest.raises(ClusterNotFound):
        await connection.hosts.create_model(ModelId("acme", "ada"))
    with pytest.raises(HostUnavailable):
        await connection.hosts.create_model(ModelId("acme", "ada"))
    await connection.hosts.create_model(ModelId("acme", "ada"))
    calls.clear()
    assert (await AsyncModel(connection, ModelId("acme", "ada")).chat("hello")).position == 0
    assert len(calls) == 3
    await connection.close()


async def test_the_address_that_openais_clients_take_is_one(served: Population) -> None:
    transport = httpx.ASGITransport(served.app)
    connection = await HttpConnection.open(f"{URL}/v1/", served.keys["acme"], transport=transport)

    assert connection.tenant == "acme"
    await connection.close()


def test_a_loop_thread_runs_calls_until_it_is_closed_and_not_from_itself() -> None:
    loop = LoopThread()

    async def call(inner: bool = False) -> int:
        return loop.run(call()) if inner else 7

    assert loop.run(call()) == 7
    with pytest.raises(InvalidRequest, match="callback"):
        loop.run(call(inner=True))
    loop.close()
    loop.close()
    with pytest.raises(InvalidRequest, match="closed: connect again"):
        loop.run(call())


def test_an_error_that_is_not_known_keeps_its_words() -> None:
    unknown = error_in(b'{"error": {"message": "Later.", "code": "of_a_newer_server"}}', 500)
    assert (type(unknown), str(unknown)) == (PopulaceError, "Later.")
    assert (
        str(error_in(b"<html>Bad gateway</html>", 502))
        == "The server answered 502: <html>Bad gateway</html>."
    )


@pytest.mark.parametrize(("address", "expected"), [("http://a:1", True), ("https://a", True), ("a:1", False)])
def test_which_addresses_are_of_servers(address: str, expected: bool) -> None:
    assert is_url(address) == expected


async def test_a_call_that_is_cancelled_leaves_the_connection_usable(ada: AsyncModel) -> None:
    task = asyncio.ensure_future(ada.chat("hello"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ada.show()).model.name == "ada"


async def test_adapters_are_published_compared_and_merged(
    remote: AsyncPopulation, served: Population, tmp_path: Path
) -> None:
    base = write_base(served.base_directory)
    adapters = [
        write_random_adapter(tmp_path / name, base, seed=seed, rank=2, targets=TARGETS)
        for seed, name in enumerate(("one", "two"))
    ]
    ada = await remote.create("ada", adapter=adapters[0])
    (first,) = await ada.revisions()
    second = await ada.publish(adapters[1], alias="canary")
    await ada.move_alias("latest", second.digest[:12])
    await ada.remove_alias("canary")
    view = await ada.show()

    assert view.aliases == {"latest": second.digest}
    assert all(layer.distance > 0 for layer in await ada.diff(first.digest, second.digest))
    with pytest.raises(InvalidRequest, match=r"it has no adapter_config\.json"):
        await ada.publish(tmp_path)
    with pytest.raises(InvalidRequest, match="There is no file or folder"):
        await ada.publish(tmp_path / "missing")
    with pytest.raises(InvalidRequest, match="a list of texts"):
        await remote.ask("Which?", choices="AB")
    bob = await remote.create("bob", adapter=adapters[0])
    for member in (ada, bob):
        await member.share("texts")
    merged = await remote.merge(["ada", "bob"], into="both")
    assert merged.kept == 1.0
    assert [source for source, _ in merged.revision.sources] == [second.digest, first.digest]
    assert (await remote.model("both").show()).aliases == {"latest": merged.revision.digest}

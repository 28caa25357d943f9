"""A request whose calls Ray loses is sent again, runs once, and ends with its reply or a named error."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ObjectRefStreamEndOfStreamError,
    RayTaskError,
)
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from populace.actors.engine import GenerateRequest, Sampling
from populace.actors.errors import EngineUnavailable, PromptTooLong
from populace.engines import channel
from populace.engines import replica as replica_module
from populace.engines.channel import Silence, StreamTarget, TokenSender
from populace.engines.client import SENDS_MAX, SILENT_LOOKS_MAX, Erased, ReplicaEngine
from populace.engines.replica import Runs
from populace.telemetry.calls import Caller, SentCaller, caller_of, serving
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.scripted_engine import BASE, ScriptedEngine

REPLY = ["reply 1", " to", " you"]
LOST = ActorUnavailableError("the connection broke", None)


class Response:
    """What a Serve handle answers: it is awaited, or cancelled."""

    def __init__(self, call: "asyncio.Task[int]") -> None:
        self._call = call

    def __await__(self) -> Any:
        return self._call.__await__()

    def cancel(self) -> None:
        self._call.cancel()


class ServeHandle:
    """A handle on a replica in this process, in place of Serve's.

    ``losses`` says of each call to come what is lost of it: the ``request``, the ``answer``, its
    connection while it runs (``in flight``), or all without a word (``silently``).
    """

    def __init__(self, replica: Runs) -> None:
        self._replica = replica
        self.generate = self
        self.losses: list[str | None] = []
        self.error: Exception = LOST
        self.calls = 0
        self.callers: list[Caller] = []
        self._running: set[asyncio.Task[int]] = set()

    def remote(self, *args: Any) -> Response:
        self.calls += 1
        lost = self.losses.pop(0) if self.losses else None
        return Response(asyncio.create_task(self._answer(lost, *args)))

    async def _answer(
        self, lost: str | None, request: GenerateRequest, target: StreamTarget, caller: SentCaller | None
    ) -> int:
        self.callers.append(caller_of(caller))
        if lost == "silently":
            await asyncio.Event().wait()
        if lost != "request":
            run = asyncio.create_task(self._replica.run(request, target))
            if lost == "in flight":
                self._running.add(run)
                await asyncio.sleep(0)
            else:
                try:
                    count = await run
                except PromptTooLong as error:
                    raise RayTaskError("generate", "", error) from None
                finally:
                    run.cancel()
                if lost is None:
                    return count
        raise self.error


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def replica(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Runs]:
    """With looks and signs in milliseconds: what is waited for here never comes."""
    monkeypatch.setattr(replica_module, "SIGN_SECONDS", 0.002)
    monkeypatch.setattr(channel, "LOOK_SECONDS", 0.02)
    sender = TokenSender()
    replica = Runs(engine, sender)
    yield replica
    replica.close()
    sender.close()


@pytest.fixture
async def client(replica: Runs) -> AsyncGenerator[ReplicaEngine]:
    client = ReplicaEngine(BASE)
    client._handle = ServeHandle(replica)
    yield client
    client.close()


async def texts(client: ReplicaEngine, prompt: str = "hello", *, stream: bool = True) -> list[str]:
    request = GenerateRequest("request", prompt, Sampling(), stream=stream)
    async with asyncio.timeout(HANG_SECONDS):
        return [delta.text async for delta in client.generate(request)]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    "losses",
    [
        [],
        ["request"],
        ["answer"],
        ["in flight"],
        ["silently"],
        ["request", "in flight", "answer", "silently"],
    ],
    ids=lambda losses: ", ".join(losses) or "none",
)
async def test_a_reply_comes_whole_and_once_whatever_ray_loses(
    client: ReplicaEngine, engine: ScriptedEngine, losses: list[str | None], stream: bool
) -> None:
    client._handle.losses = losses

    pieces = await texts(client, stream=stream)

    assert pieces == (REPLY if stream else ["".join(REPLY)])
    assert len(engine.requests) == 1


async def test_nothing_is_sent_again_while_a_replica_works_on_it(
    client: ReplicaEngine, engine: ScriptedEngine
) -> None:
    engine.hold_before = 0
    reading = asyncio.create_task(texts(client))
    await engine.held.wait()
    assert client._reader is not None
    with client._reader.stream() as (_, silent):
        while await silent.get() != Silence(2 * SILENT_LOOKS_MAX, accepted=False):
            pass
    engine.gate.set()

    assert await reading == REPLY
    assert client._handle.calls == 1


@pytest.mark.parametrize("lost", [["in flight"], ["answer"], ["request"], ["silently"]])
async def test_the_replicas_own_error_arrives_although_its_first_answer_is_lost(
    client: ReplicaEngine, engine: ScriptedEngine, lost: list[str | None]
) -> None:
    client._handle.losses = lost

    with pytest.raises(PromptTooLong):
        await texts(client, "word " * BASE.context_tokens)

    assert len(engine.requests) == 1


async def test_a_peeked_answer_that_never_comes_is_a_lost_call(
    client: ReplicaEngine, engine: ScriptedEngine
) -> None:
    client._handle.losses = ["request"]
    client._handle.error = ObjectRefStreamEndOfStreamError()

    assert await texts(client) == REPLY


@pytest.mark.parametrize("lost", ["silently", "request"])
async def test_a_request_that_no_replica_takes_ends_with_an_error_after_a_bounded_number_of_calls(
    client: ReplicaEngine, engine: ScriptedEngine, lost: str
) -> None:
    client._handle.losses = [lost] * 100

    with pytest.raises(EngineUnavailable, match="no replica took the request"):
        await texts(client)

    assert client._handle.calls <= SENDS_MAX
    assert engine.requests == []


async def test_a_stream_whose_tokens_stop_coming_ends_with_an_error_and_frees_its_slot(
    client: ReplicaEngine, engine: ScriptedEngine, replica: Runs
) -> None:
    engine.hold_before = 1
    replica.close()
    deltas = client.generate(GenerateRequest("request", "hello", Sampling()))
    first = await anext(deltas)

    with pytest.raises(EngineUnavailable, match="its tokens stopped coming"):
        await anext(deltas)
    await engine.wait_freed()

    assert first.text == REPLY[0]


async def test_a_reader_who_leaves_frees_the_slot(client: ReplicaEngine, engine: ScriptedEngine) -> None:
    engine.hold_before = 1
    deltas = client.generate(GenerateRequest("request", "hello", Sampling()))
    await anext(deltas)

    await deltas.aclose()
    await engine.wait_freed()

    assert engine.running == set()


class UnansweredHandle:
    """A handle on a replica that embeds for ever, in place of Serve's: a reader that leaves ends nothing."""

    def __init__(self) -> None:
        self.embed = self
        self.started, self.cancelled = asyncio.Event(), asyncio.Event()

    def remote(self, *_: Any) -> "UnansweredHandle":
        return self

    def __await__(self) -> Any:
        self.started.set()
        return asyncio.Event().wait().__await__()

    def cancel(self) -> None:
        self.cancelled.set()


async def test_embeddings_that_nobody_waits_for_end_in_the_replica() -> None:
    client = ReplicaEngine(BASE)
    handle = client._handle = UnansweredHandle()
    embedding = asyncio.create_task(client.embed(["hello"]))

    async with asyncio.timeout(HANG_SECONDS):
        await handle.started.wait()
        embedding.cancel()
        await handle.cancelled.wait()

    with pytest.raises(asyncio.CancelledError):
        await embedding


async def test_each_call_of_a_request_says_which_request_it_is_for(client: ReplicaEngine) -> None:
    client._handle.losses = ["request"]
    with serving(Caller("req_1")):
        await texts(client)
    await texts(client)

    assert [caller.request_id for caller in client._handle.callers] == ["req_1", "req_1", None]


class BroadcastHandle:
    """A handle on all replicas, in place of Serve's, which answer a broadcast with this."""

    def __init__(self, answers: list[Erased] | Exception) -> None:
        self._answers = answers

    def broadcast(self, name: str, digests: frozenset[str]) -> "BroadcastHandle":
        assert (name, digests) == ("erase", frozenset({"d"}))
        return self

    async def results_async(self, *, timeout_s: float) -> list[Erased]:
        assert timeout_s > 0
        if isinstance(self._answers, Exception):
            raise self._answers
        return self._answers


async def erased_by(answers: list[Erased] | Exception) -> frozenset[str]:
    client = ReplicaEngine(BASE)
    client._handle = BroadcastHandle(answers)
    return await client.erase(frozenset({"d"}))


async def test_what_every_replica_erased_is_erased_from_their_nodes() -> None:
    none = frozenset[str]()

    assert await erased_by([Erased("here", none), Erased("there", none)]) == {"here", "there"}
    assert await erased_by(DeploymentUnavailableError(DeploymentID("engine", "app"))) == none


@pytest.mark.parametrize(
    "answers",
    [
        [Erased("here", frozenset()), Erased("there", frozenset({"d"}))],
        LOST,
        ActorDiedError(),
        TimeoutError(),
        RayTaskError("erase", "", EngineUnavailable("it was closed")),
    ],
    ids=["in use", "unreachable", "dead", "silent", "closing"],
)
async def test_what_a_replica_has_or_may_have_is_not_erased(answers: list[Erased] | Exception) -> None:
    with pytest.raises(EngineUnavailable):
        await erased_by(answers)

"""A peek reads a model as it is and leaves no trace, the same for hosts in this process and on Ray."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from populace.actors.engine import MemoryUse, Message, Sampling
from populace.actors.errors import EngineUnavailable, InvalidRequest, TurnExpired
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Hosts
from populace.actors.memory import Memory, MemoryChoice, MemoryOutcome, MemoryTrace
from populace.actors.turn import ChatRequest, ModelId, TurnRequest
from populace.actors.turns.peeks import begin_peek_reply
from populace.policies.retrieval import Retrieval
from populace.storage.records.errors import ModelNotFound, RevisionNotFound
from tests.actors.conftest import MakeHost
from tests.actors.fakes import BASE, Dictation, ScriptedEngine, delta, spoken
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.turns import grant_of, queue_turn, reply, revision, take_turn, turn_of

ADA = ModelId("acme", "ada")
ASKED = (Message("user", "Hi."),)
STATE = b"what ada remembers"


def looking(turn: TurnRequest, **changes: object) -> ChatRequest:
    return replace(ChatRequest(turn, ASKED, Sampling(max_tokens=8)), **changes)


@pytest.fixture
async def ada(hosts: Hosts, tenant: str) -> ModelId:
    return (await hosts.create_model(ModelId(tenant, "ada"))).model


async def test_a_peek_gets_what_a_turn_would_get_and_leaves_the_model_as_it_was(
    hosts: Hosts, ada: ModelId
) -> None:
    published = revision()
    await take_turn(hosts, turn_of(ada, "op-1", history_of="main"))
    await hosts.publish_revision(ada, published)
    before, log = await hosts.show_model(ada), await hosts.read_log(ada)

    seen = await hosts.begin_peek(turn_of(ada, "peeking", history_of="main"))

    assert (seen.revision, seen.base, seen.memory_version) == (published.digest, BASE.fingerprint, 0)
    assert [message.content for turn in seen.history for message in turn] == ["Hi.", "Hello."]
    assert await hosts.show_model(ada) == before
    assert await hosts.read_log(ada) == log
    granted = await grant_of(hosts, turn_of(ada, "peeking", history_of="main"))
    assert granted.position == 1
    assert replace(seen, operation="", grant_id="") == replace(granted, operation="", grant_id="")
    await hosts.abandon_turn(granted, "the test ends")


@IN_ONE_PROCESS
async def test_a_peek_does_not_wait_for_turns_nor_hold_them_up(hosts: Hosts, ada: ModelId) -> None:
    running = await grant_of(hosts, turn_of(ada, "op-1"))
    waiting = await queue_turn(hosts, turn_of(ada, "op-2"))

    seen = [await hosts.begin_peek(turn_of(ada, "op-1")) for _ in range(100)]

    assert not waiting.done()
    assert len({peek.grant_id for peek in seen}) == 100
    assert (await hosts.finish_turn(running, reply())).position == 0
    granted = await waiting
    assert (await hosts.finish_turn(replace(granted), reply())).position == 1  # type: ignore[arg-type]


@IN_ONE_PROCESS
async def test_a_peek_needs_no_activation(hosts: Hosts, ada: ModelId) -> None:
    before = [host.activations for host in await hosts.statistics()]

    await hosts.begin_peek(turn_of(ada))

    assert not (await hosts.show_model(ada)).active
    assert [host.activations for host in await hosts.statistics()] == before


@IN_ONE_PROCESS
async def test_a_peek_uses_no_operation_id(hosts: Hosts, ada: ModelId) -> None:
    made = await take_turn(hosts, turn_of(ada, "op-1"))

    seen = await hosts.begin_peek(turn_of(ada, "op-1", body=b"another"))
    await hosts.begin_peek(turn_of(ada, "op-2", body=b"another"))

    assert seen.operation not in (made.operation, "op-2")
    assert (await take_turn(hosts, turn_of(ada, "op-2"))).replayed is False


@IN_ONE_PROCESS
async def test_a_peek_cannot_be_committed(hosts: Hosts, ada: ModelId) -> None:
    seen = await hosts.begin_peek(turn_of(ada))

    with pytest.raises(TurnExpired, match="peek"):
        await hosts.finish_turn(seen, reply())
    await hosts.abandon_turn(seen, "it was only looked at")

    assert await hosts.read_log(ada) == ()


async def test_what_does_not_exist_cannot_be_peeked_at(hosts: Hosts, ada: ModelId, tenant: str) -> None:
    with pytest.raises(ModelNotFound):
        await hosts.begin_peek(turn_of(ModelId(tenant, "nobody")))
    with pytest.raises(RevisionNotFound):
        await hosts.begin_peek(turn_of(ada, alias="canary"))
    await hosts.erase_model(ada)
    with pytest.raises(ModelNotFound):
        await hosts.begin_peek(turn_of(ada))


@IN_ONE_PROCESS
async def test_every_revision_can_be_peeked_at_by_alias_digest_or_its_beginning(
    hosts: Hosts, ada: ModelId
) -> None:
    first, second = revision("one"), revision("two", created_ms=2)
    await hosts.publish_revision(ada, first)
    await hosts.publish_revision(ada, second)
    await hosts.move_alias(ada, "stable", first.digest)

    references = ("latest", "stable", first.digest, first.digest[:12], second.digest[:12], "base")
    seen = [(await hosts.begin_peek(turn_of(ada, alias=reference))) for reference in references]

    assert [peek.revision for peek in seen] == [
        second.digest,
        first.digest,
        first.digest,
        first.digest,
        second.digest,
        "base",
    ]
    assert [peek.adapter is None for peek in seen] == [False] * 5 + [True]
    with pytest.raises(RevisionNotFound):
        await hosts.begin_peek(turn_of(ada, alias="0" * 64))


@IN_ONE_PROCESS
async def test_a_beginning_of_several_digests_is_refused(hosts: Hosts, ada: ModelId) -> None:
    one = revision("one")
    await hosts.publish_revision(ada, replace(one, digest="ab" * 32))
    await hosts.publish_revision(ada, replace(one, digest="ac" * 32, created_ms=2))

    with pytest.raises(InvalidRequest, match="2 revisions"):
        await hosts.begin_peek(turn_of(ada, alias="a"))


async def test_a_peek_retrieves_from_the_log_whether_the_model_is_active_or_not(make_host: MakeHost) -> None:
    host = make_host()
    await host.create_model(ADA)
    for number, asked in enumerate(("My dog is called Bruno.", "I live in Lisbon.")):
        await host.finish_turn(await grant_of(host, turn_of(ADA, f"op-{number}")), reply(asked=asked))
    request = replace(turn_of(ADA), retrieval=Retrieval.of((Message("user", "Dog?"),), 1))

    active = await host.begin_peek(request)
    host.passivate(ADA)
    passive = await host.begin_peek(request)

    assert [turn.position for turn in active.retrieved] == [0]
    assert passive.retrieved == active.retrieved


async def remember(host: ModelHost) -> None:
    """Make a turn that leaves ``STATE`` in ada's memory."""
    memory = Memory(STATE)
    said = replace(reply(), memory=MemoryOutcome(memory.pack(), MemoryTrace(True, 0, (1,), "m" * 64)))
    await host.finish_turn(await grant_of(host, turn_of(ADA, "told")), said)


def remembering_engine() -> ScriptedEngine:
    engine = ScriptedEngine(spoken("Hel", "lo."))
    engine.base = BASE._replace(memory_module="m" * 64)
    return engine


async def test_a_peek_reads_the_memory_and_does_not_write_it(make_host: MakeHost) -> None:
    engine = remembering_engine()
    host = make_host(engine=engine)
    await host.create_model(ADA)
    await remember(host)
    before = await host.memories.show(ADA)

    seen = await host.peek(looking(turn_of(ADA), memory=MemoryChoice(read=True, write=True), kept=0))

    assert (str(seen), seen.finish_reason, seen.memory_version) == ("Hello.", "stop", 1)
    assert [request.memory for request in engine.requests] == [MemoryUse(STATE, read=True, new_from=None)]
    assert await host.memories.show(ADA) == before
    assert len(await host.read_log(ADA)) == 1
    assert [one.turns for one in await host.statistics()] == [1]


async def test_the_bare_base_is_asked_without_adapter_and_memory(make_host: MakeHost) -> None:
    engine = remembering_engine()
    host = make_host(engine=engine)
    await host.create_model(ADA)
    await remember(host)
    await host.publish_revision(ADA, revision())

    own, bare = [await host.peek(looking(turn_of(ADA, alias=alias))) for alias in ("latest", "base")]

    assert (own.revision, own.memory_version) == (revision().digest, 1)
    assert (bare.revision, bare.memory_version) == ("base", 0)
    assert [request.adapter is None for request in engine.requests] == [False, True]
    assert [request.memory is None for request in engine.requests] == [False, True]


async def test_a_forgotten_turn_does_not_come_back_in_a_peek(make_host: MakeHost) -> None:
    engine = ScriptedEngine(spoken("Hello."))
    host = make_host(engine=engine)
    await host.create_model(ADA)
    first = await host.chat(looking(turn_of(ADA, "op-1")))
    await host.forgetting.forget(ADA, [first.position], "forget")
    engine.requests.clear()
    again = (*ASKED, Message("assistant", first.reply), Message("user", "And now?"))

    await host.peek(replace(looking(turn_of(ADA, "op-2")), messages=again))

    assert [request.prompt for request in engine.requests] == [(Message("user", "And now?"),)]


async def test_a_peek_streams_while_a_turn_of_the_model_runs(make_host: MakeHost) -> None:
    host = make_host()
    await host.create_model(ADA)
    said = Dictation()
    running = await grant_of(host, turn_of(ADA))

    looks = await begin_peek_reply(host, ScriptedEngine(said), looking(turn_of(ADA)), stream=True)
    async with aclosing(looks):
        said.say(delta("Hel"))
        first = await anext(aiter(looks))
        made = await host.finish_turn(running, reply())
        said.say(delta("lo.", "stop"))
        rest = [part.text async for part in looks]

    assert (first.text, rest, made.position) == ("Hel", ["lo."], 0)
    assert looks.interaction is None
    assert len(await host.read_log(ADA)) == 1


async def test_a_reader_who_leaves_a_peek_frees_the_engine(make_host: MakeHost) -> None:
    host = make_host()
    await host.create_model(ADA)
    said = Dictation()
    engine = ScriptedEngine(said)

    looks = await begin_peek_reply(host, engine, looking(turn_of(ADA)), stream=True)
    reading = asyncio.create_task(anext(aiter(looks)))
    await said.started.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await looks.aclose()

    assert engine.slots_held == 0


async def test_a_host_without_an_engine_says_so(host: ModelHost) -> None:
    await host.create_model(ADA)

    with pytest.raises(EngineUnavailable):
        await host.peek(looking(turn_of(ADA)))

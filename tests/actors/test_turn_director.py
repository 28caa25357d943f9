"""One turn from grant to log: what the reader sees when, and what is left when it breaks off."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import (
    EngineOverloaded,
    EngineUnavailable,
    HostUnavailable,
    PromptTooLong,
    TurnExpired,
)
from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ChatRequest, Interaction, ModelId, TurnRequest
from populace.actors.turns.turn_director import begin_reply, completion_id
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.storage.store import Store
from tests.actors.fakes import BASE, Dictation, FailingClient, FakeClock, ScriptedEngine, delta, spoken
from tests.actors.turns import grant_of, reply, take_turn, turn_of
from tests.storage.processes import line_of, running

ADA = ModelId("acme", "ada")
ASKED = (Message("user", "Hi."),)


@pytest.fixture
async def ada(host: ModelHost) -> ModelId:
    return (await host.create_model(ADA)).model


def chat(turn: TurnRequest, messages: tuple[Message, ...] = ASKED) -> ChatRequest:
    return ChatRequest(turn, messages, Sampling(max_tokens=8))


def room_for(messages_max: int) -> ScriptedEngine:
    """An engine whose context holds so many messages."""

    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        if len(request.prompt) > messages_max:
            raise PromptTooLong(len(request.prompt), 1, max(1, messages_max))
        yield delta("Hello.", "stop")

    return ScriptedEngine(script)


async def converse(host: ModelHost, turns: int) -> None:
    for number in range(turns):
        await take_turn(host, turn_of(ADA, f"earlier-{number}", history_of="main"))


async def test_a_reader_sees_the_grant_the_deltas_and_the_interaction(host: ModelHost, ada: ModelId) -> None:
    engine = ScriptedEngine(spoken("Hel", "lo", "."))

    reply = await begin_reply(host, engine, chat(turn_of(ada)), stream=True)
    granted, recorded = reply.grant, reply.interaction
    async with aclosing(reply):
        texts = [delta.text async for delta in reply]

    assert granted is not None
    assert recorded is None
    assert texts == ["Hel", "lo", "."]
    assert reply.interaction == (await host.read_log(ada))[0]
    assert [(one.prompt, one.adapter, one.stream) for one in engine.requests] == [(ASKED, None, True)]


async def test_without_streaming_a_reader_sees_no_deltas(host: ModelHost, ada: ModelId) -> None:
    engine = ScriptedEngine(spoken("Hel", "lo."))

    async with aclosing(await begin_reply(host, engine, chat(turn_of(ada)))) as reply:
        deltas = [delta async for delta in reply]

    assert deltas == []
    assert reply.interaction is not None
    assert [one.reply for one in await host.read_log(ada)] == ["Hello."]


async def test_the_last_delta_is_held_back_until_the_turn_is_in_the_log(
    host: ModelHost, ada: ModelId
) -> None:
    engine = ScriptedEngine(spoken("Hel", "lo."))

    async with aclosing(await begin_reply(host, engine, chat(turn_of(ada)), stream=True)) as reply:
        seen = [(delta.text, (await host.read_log(ada))[0].answer) async for delta in reply]

    assert seen == [("Hel", None), ("lo.", "Hello.")]


async def test_an_operation_that_took_effect_asks_the_engine_nothing(host: ModelHost, ada: ModelId) -> None:
    engine = ScriptedEngine(spoken("Hello."))
    made = await take_turn(host, turn_of(ada))

    async with aclosing(await begin_reply(host, engine, chat(turn_of(ada)), stream=True)) as reply:
        deltas = [delta async for delta in reply]

    assert deltas == []
    assert reply.grant is None
    assert reply.interaction is not None
    assert (reply.interaction.position, reply.interaction.replayed) == (made.position, True)
    assert engine.requests == []


async def test_an_operation_that_is_tried_again_keeps_its_completion_id(
    host: ModelHost, ada: ModelId
) -> None:
    first = await grant_of(host, turn_of(ada, "op-1"))
    await host.abandon_turn(first, "its reader left")

    again = await grant_of(host, turn_of(ada, "op-1"))
    await host.abandon_turn(again, "its reader left")
    other = await grant_of(host, turn_of(ada, "op-2"))
    await host.abandon_turn(other, "its reader left")

    assert len({first.grant_id, again.grant_id, other.grant_id}) == 3
    assert completion_id(first) == completion_id(again) != completion_id(other)


async def test_a_message_is_in_the_log_before_the_engine_is_asked_for_a_reply(
    host: ModelHost, ada: ModelId
) -> None:
    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        [accepted] = await host.read_log(ada)
        assert (accepted.messages, accepted.answer, accepted.position) == (ASKED, None, 0)
        yield delta("Hello.", "stop")

    made = await host_chat(host, ScriptedEngine(script), turn_of(ada))

    assert await host.read_log(ada) == (made,)
    assert (made.position, made.answer) == (0, "Hello.")


async def test_a_reader_that_closes_early_leaves_a_turn_without_a_reply_and_the_engines_slot(
    host: ModelHost, ada: ModelId
) -> None:
    dictation = Dictation()
    dictation.say(delta("Hel"))
    engine = ScriptedEngine(dictation)

    async with aclosing(await begin_reply(host, engine, chat(turn_of(ada)), stream=True)) as reply:
        await anext(aiter(reply))

    assert engine.slots_held == 0
    await check_unanswered(host, ada)
    again = await take_turn(host, turn_of(ada))
    assert await host.read_log(ada) == (again,)


async def test_the_next_turn_reads_a_message_that_was_not_answered(host: ModelHost, ada: ModelId) -> None:
    dictation = Dictation()
    dictation.say(EngineUnavailable("it died"))
    rex = Message("user", "My dog is called Rex.")
    with pytest.raises(EngineUnavailable):
        await host_chat(host, ScriptedEngine(dictation), turn_of(ada, history_of="main"), (rex,))
    engine = ScriptedEngine(spoken("Rex."))

    made = await host_chat(host, engine, turn_of(ada, "op-2", history_of="main", body=b"other"))

    assert engine.requests[0].prompt == (rex, *ASKED)
    assert (made.position, made.messages, made.history_turns) == (1, ASKED, 1)


async def test_who_sends_an_unanswered_message_again_says_it_once(host: ModelHost, ada: ModelId) -> None:
    """Clients retry without a key of their own what failed, and people send again what got no reply."""
    dictation = Dictation()
    dictation.say(EngineUnavailable("it died"))
    with pytest.raises(EngineUnavailable):
        await host_chat(host, ScriptedEngine(dictation), turn_of(ada, "auto-1", history_of="main"))
    engine = ScriptedEngine(spoken("Hello."))

    made = await host_chat(host, engine, turn_of(ada, "auto-2", history_of="main"))

    assert engine.requests[0].prompt == ASKED
    assert await host.read_log(ada) == (made,)
    assert (made.position, made.operation) == (0, "auto-2")


async def test_a_message_with_a_key_waits_for_its_own_call(host: ModelHost, ada: ModelId) -> None:
    dictation = Dictation()
    dictation.say(EngineUnavailable("it died"))
    with pytest.raises(EngineUnavailable):
        await host_chat(host, ScriptedEngine(dictation), turn_of(ada, "key-1"))
    engine = ScriptedEngine(spoken("Hello."))

    other = await host_chat(host, engine, turn_of(ada, "key-2"))
    late = await host_chat(host, engine, turn_of(ada, "key-1"))
    again = await host.begin_turn(turn_of(ada, "key-1"))

    assert [(turn.position, turn.operation, turn.answer) for turn in await host.read_log(ada)] == [
        (0, "key-1", None),
        (1, "key-2", "Hello."),
        (2, "key-1", "Hello."),
    ], "it is said again behind what was said since"
    assert (other.position, late.position) == (1, 2)
    assert isinstance(again, Interaction)
    assert (again.position, again.replayed) == (2, True)


@pytest.mark.parametrize("error", [EngineOverloaded("full", 1.0), PromptTooLong(9, 9, 9)])
async def test_a_request_that_is_refused_leaves_nothing_in_the_log(
    host: ModelHost, ada: ModelId, error: Exception
) -> None:
    await converse(host, 1)
    before = await host.read_log(ada)
    dictation = Dictation()
    dictation.say(error)

    with pytest.raises(type(error)):
        await host_chat(host, ScriptedEngine(dictation), turn_of(ada, "op-1"))

    assert await host.read_log(ada) == before
    assert (await host.show_model(ada)).log_position == 1
    assert (await take_turn(host, turn_of(ada, "op-2", body=b"other"))).position == 1


async def test_a_message_that_was_accepted_outlives_a_later_refusal(host: ModelHost, ada: ModelId) -> None:
    for error in (EngineUnavailable("it died"), EngineOverloaded("full", 1.0)):
        dictation = Dictation()
        dictation.say(error)
        with pytest.raises(type(error)):
            await host_chat(host, ScriptedEngine(dictation), turn_of(ada))

    await check_unanswered(host, ada)


async def test_a_reply_that_is_closed_unread_gives_up_the_turn(host: ModelHost, ada: ModelId) -> None:
    reply = await begin_reply(host, ScriptedEngine(spoken("Hello.")), chat(turn_of(ada)), stream=True)
    await reply.aclose()

    assert (await take_turn(host, turn_of(ada, "op-2"))).position == 0


async def test_a_cancelled_reader_gives_up_the_turn_and_the_engines_slot(
    host: ModelHost, ada: ModelId
) -> None:
    dictation = Dictation()
    engine = ScriptedEngine(dictation)

    reader = asyncio.ensure_future(host_chat(host, engine, turn_of(ada)))
    await dictation.started.wait()
    reader.cancel()
    await asyncio.wait([reader])

    assert engine.slots_held == 0
    assert (await take_turn(host, turn_of(ada, "op-2"))).position == 0


async def test_a_reader_that_is_cancelled_during_the_commit_leaves_a_committed_turn(
    host: ModelHost, ada: ModelId
) -> None:
    ended = asyncio.Event()

    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        yield delta("Hello.", "stop")
        ended.set()

    reader = asyncio.ensure_future(host_chat(host, ScriptedEngine(script), turn_of(ada)))
    await ended.wait()
    reader.cancel()
    await asyncio.wait([reader])
    again = await host.begin_turn(turn_of(ada))

    assert reader.cancelled()
    assert isinstance(again, Interaction)
    assert (again.position, again.reply) == (0, "Hello.")
    assert (await take_turn(host, turn_of(ada, "op-2"))).position == 1


async def test_an_engines_error_reaches_the_reader_and_gives_up_the_turn(
    host: ModelHost, ada: ModelId
) -> None:
    dictation = Dictation()
    dictation.say(delta("Hel"), EngineUnavailable("it died"))
    engine = ScriptedEngine(dictation)

    with pytest.raises(EngineUnavailable):
        await host_chat(host, engine, turn_of(ada))

    assert engine.slots_held == 0
    await check_unanswered(host, ada)
    assert (await take_turn(host, turn_of(ada))).position == 0


async def test_the_reader_learns_why_its_turn_failed_also_when_the_host_is_away(
    host: ModelHost, ada: ModelId
) -> None:
    dictation = Dictation()
    dictation.say(EngineUnavailable("it died"))
    client = FailingClient(LocalHostClient(host), {"abandon_turn": [HostUnavailable("host-0", "it died")]})
    directory = Directory.over([client], shard_count=4)

    with pytest.raises(EngineUnavailable):
        await host_chat(directory, ScriptedEngine(dictation), turn_of(ada))

    assert client.calls == ["begin_turn", "accept_turn", "abandon_turn"]


async def test_a_prompt_that_is_too_long_is_tried_with_half_of_the_history(
    host: ModelHost, ada: ModelId
) -> None:
    await converse(host, 5)
    engine = room_for(messages_max=5)

    made = await host_chat(host, engine, turn_of(ada, history_of="main"))

    assert [len(request.prompt) for request in engine.requests] == [11, 5]
    assert engine.requests[1].prompt == (Message("user", "Hi."), Message("assistant", "Hello.")) * 2 + ASKED
    assert len({request.request_id for request in engine.requests}) == 2
    assert (made.history_turns, made.messages) == (2, ASKED)


async def test_a_prompt_that_is_too_long_without_history_is_refused(host: ModelHost, ada: ModelId) -> None:
    await converse(host, 2)
    engine = room_for(messages_max=0)

    with pytest.raises(PromptTooLong):
        await host_chat(host, engine, turn_of(ada, "op-1", history_of="main"))

    assert [len(request.prompt) for request in engine.requests] == [5, 3, 1]
    assert len(await host.read_log(ada)) == 2
    assert (await take_turn(host, turn_of(ada, "op-1"))).position == 2


async def test_a_history_over_half_of_the_context_is_not_tried(host: ModelHost, ada: ModelId) -> None:
    await take_turn(host, turn_of(ada, "long", history_of="main"), "long " * 1000)
    await converse(host, 1)
    engine = ScriptedEngine(spoken("Hello."))

    made = await host_chat(host, engine, turn_of(ada, history_of="main"))

    assert [len(request.prompt) for request in engine.requests] == [3]
    assert made.history_turns == 1


def exchanges(count: int, begin: int = 0) -> tuple[Message, ...]:
    numbers = range(begin, begin + count)
    return tuple(
        said for n in numbers for said in (Message("user", f"ask {n}"), Message("assistant", f"tell {n}"))
    )


async def test_a_chat_that_its_client_sends_whole_is_read_without_its_oldest_exchanges(
    host: ModelHost, ada: ModelId
) -> None:
    system = Message("system", "Be kind")
    engine = room_for(messages_max=17)  # of which 8 are for the reply

    async with aclosing(
        await begin_reply(host, engine, chat(turn_of(ada), (system, *exchanges(20), *ASKED)))
    ) as reply:
        assert [delta async for delta in reply] == []

    assert [len(request.prompt) for request in engine.requests] == [42, 8]
    assert engine.requests[-1].prompt == (system, *exchanges(3, 17), *ASKED)
    assert reply.left_out == 34
    assert reply.interaction is not None
    assert reply.interaction.messages == engine.requests[-1].prompt


async def test_a_chat_that_is_to_be_read_whole_is_refused_if_it_does_not_fit(
    host: ModelHost, ada: ModelId
) -> None:
    await take_turn(host, turn_of(ada, "long", history_of="main"), "long " * 1000)
    await converse(host, 2)
    engine = room_for(messages_max=7)

    made = await host_chat(host, engine, turn_of(ada, "op-1", history_of="main"), whole=True)
    with pytest.raises(PromptTooLong):
        await host_chat(host, engine, turn_of(ada, "op-2", history_of="main"), whole=True)
    with pytest.raises(PromptTooLong):
        await host_chat(host, engine, turn_of(ada, "op-3"), (*exchanges(4), *ASKED), whole=True)

    assert [len(request.prompt) for request in engine.requests] == [7, 9, 9]
    assert (made.history_turns, len(await host.read_log(ada))) == (3, 4)


async def test_a_reply_that_may_be_longer_than_the_context_is_refused_at_once(
    host: ModelHost, ada: ModelId
) -> None:
    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        if request.prompt:  # which an engine does not read before it refuses
            raise PromptTooLong(0, 4096, 2048)
        yield delta("never", "stop")

    await converse(host, 2)
    engine = ScriptedEngine(script)

    with pytest.raises(PromptTooLong, match="may have 4096: lower max_tokens") as refused:
        await host_chat(host, engine, turn_of(ada, "op-1", history_of="main"))

    assert (refused.value.parameter, len(engine.requests)) == ("max_tokens", 1)


async def test_a_chat_whose_last_exchange_does_not_fit_is_refused(host: ModelHost, ada: ModelId) -> None:
    engine = room_for(messages_max=1)

    with pytest.raises(PromptTooLong) as refused:
        await host_chat(host, engine, turn_of(ada), (Message("system", "Be kind"), *exchanges(9), *ASKED))

    assert refused.value.prompt_tokens == 2, "of the shortest that there is"
    assert await host.read_log(ada) == ()


async def test_a_newest_turn_that_is_a_whole_chat_is_read_from_its_newest_exchanges_on(
    host: ModelHost, ada: ModelId
) -> None:
    long = tuple(message._replace(content=message.content + "!" * 400) for message in exchanges(9))
    await host_chat(
        host, ScriptedEngine(spoken("Hello.")), turn_of(ada, "long", history_of="main"), (*long, *ASKED)
    )
    engine = ScriptedEngine(spoken("Hello."))

    made = await host_chat(host, engine, turn_of(ada, "next", history_of="main"))

    hello = Message("assistant", "Hello.")
    assert engine.requests[0].prompt == made.messages == (*long[-6:], *ASKED, hello, *ASKED)
    assert (made.conversation, made.history_turns) == ("main", 0)
    await host_chat(host, engine, turn_of(ada, "after", history_of="main"))
    assert engine.requests[1].prompt == (*made.messages, hello, *ASKED)


async def test_a_single_exchange_over_half_of_the_context_is_read_if_it_fits(
    host: ModelHost, ada: ModelId
) -> None:
    await take_turn(host, turn_of(ada, "long", history_of="main"), "long " * 1000)
    engines = [room_for(3), room_for(2)]

    made = [
        await host_chat(host, engine, turn_of(ada, f"next-{number}", history_of="main"))
        for number, engine in enumerate(engines)
    ]

    assert [turn.history_turns for turn in made] == [1, 0]
    assert [[len(request.prompt) for request in engine.requests] for engine in engines] == [[3], [3, 1]]


@pytest.mark.parametrize("room", [100, 3, 2])
async def test_results_of_tools_are_not_read_without_their_calls(
    host: ModelHost, ada: ModelId, room: int
) -> None:
    await converse(host, 1)
    await take_turn(host, turn_of(ada, "calls", history_of="main"), "call " * 1000)
    engine = room_for(messages_max=room)
    turn = host_chat(host, engine, turn_of(ada, history_of="main"), (Message("tool", "sunny"),))

    if room < 3:
        with pytest.raises(PromptTooLong):
            await turn
    else:
        assert (await turn).history_turns == 1
    assert [len(request.prompt) for request in engine.requests] == [3]


@pytest.mark.parametrize(("room", "prompts"), [(4, [10, 6, 4]), (3, [10, 6, 4, 3]), (1, [10, 6, 4, 3, 1])])
async def test_results_of_tools_are_left_out_before_their_calls(
    host: ModelHost, ada: ModelId, room: int, prompts: list[int]
) -> None:
    await converse(host, 4)
    engine = room_for(messages_max=room)
    own = (Message("tool", "sunny"), Message("user", "And?"))

    made = await host_chat(host, engine, turn_of(ada, history_of="main"), own)

    assert [len(request.prompt) for request in engine.requests] == prompts
    assert made.history_turns == (0 if room == 1 else 1)
    assert made.messages == own[0 if room == 4 else 1 :]


async def test_a_raw_prompt_is_read_as_it_is(host: ModelHost, ada: ModelId) -> None:
    await converse(host, 2)
    engine = ScriptedEngine(spoken("Hello."))

    made = await host_chat(host, engine, turn_of(ada, history_of="main"), (Message("text", "Once upon"),))

    assert [request.prompt for request in engine.requests] == ["Once upon"]
    assert made.history_turns == 0


async def test_generation_stops_before_the_deadline(host: ModelHost, ada: ModelId) -> None:
    engine = ScriptedEngine(Dictation())

    with pytest.raises(TurnExpired):
        await host_chat(host, engine, turn_of(ada, turn_seconds_max=0.02))

    assert engine.slots_held == 0
    await check_unanswered(host, ada)
    assert (await take_turn(host, turn_of(ada), reply().text)).position == 0


SPEAKER = """
import asyncio, os, sys
from contextlib import aclosing
from pathlib import Path
from populace.actors.host.model_host import ModelHost
from populace.actors.turns.turn_director import begin_reply
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.test_turn_director import ADA, chat
from tests.actors.turns import turn_of

async def script(request):
    os.write(1, b"asked\\n")
    await asyncio.Event().wait()
    yield

async def main():
    store = Store.create_or_open(Path(sys.argv[1]), 1)
    host = ModelHost("victim", store, [0], base=BASE.fingerprint, clock=FakeClock())
    await host.create_model(ADA)
    request = chat(turn_of(ADA, history_of="main"))
    async with aclosing(await begin_reply(host, ScriptedEngine(script), request)) as reply:
        await anext(aiter(reply))

asyncio.run(main())
"""


@pytest.mark.fault
async def test_a_message_is_there_after_kill_9_before_the_first_token(tmp_path: Path) -> None:
    with running(SPEAKER, tmp_path / "store") as victim:
        assert line_of(victim) == "asked"
    host = ModelHost("heir", Store.open(tmp_path / "store"), [0], base=BASE.fingerprint, clock=FakeClock())
    engine = ScriptedEngine(spoken("Hello."))

    await check_unanswered(host, ADA)
    made = await host_chat(host, engine, turn_of(ADA, history_of="main"))
    again = await host_chat(host, engine, turn_of(ADA, history_of="main"))

    assert await host.read_log(ADA) == (made,)
    assert again == replace(made, replayed=True)
    assert [request.prompt for request in engine.requests] == [ASKED]
    host.check_integrity()
    host.close()


async def check_unanswered(host: ModelHost, model: ModelId) -> None:
    """The log has one turn, of one message, and no reply."""
    [turn] = await host.read_log(model)
    assert (turn.position, turn.messages, turn.reply, turn.answer) == (0, ASKED, "", None)


async def host_chat(
    host: ModelHost | Directory,
    engine: ScriptedEngine,
    turn: TurnRequest,
    messages: tuple[Message, ...] = ASKED,
    *,
    whole: bool = False,
) -> Interaction:
    """Read a reply to its end."""
    request = replace(chat(turn, messages), whole=whole)
    async with aclosing(await begin_reply(host, engine, request, stream=True)) as reply:
        async for _ in reply:
            pass
    assert reply.interaction is not None
    return reply.interaction

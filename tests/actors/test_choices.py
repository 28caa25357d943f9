"""Several replies to one prompt: side by side, each with a seed of its own, one of them kept or none."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import EngineUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ChatRequest, ModelId
from populace.actors.turns.choices import generate_choices
from populace.actors.turns.turn_director import begin_reply
from tests.actors.fakes import ScriptedEngine, delta, spoken
from tests.actors.turns import take_turn, turn_of

ADA = ModelId("acme", "ada")
ASKED = (Message("user", "Hi."),)
REQUEST = GenerateRequest("r", ASKED, Sampling(seed=7))


@pytest.fixture
async def ada(host: ModelHost) -> ModelId:
    return (await host.create_model(ADA)).model


async def told(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    """Say which request it is."""
    yield delta(f"I am {request.request_id.rpartition(':')[2]}", None)
    yield delta(".", "stop")


def three(ada: ModelId, kept: int | None) -> ChatRequest:
    return ChatRequest(turn_of(ada), ASKED, Sampling(), choices=3, kept=kept)


async def test_each_choice_is_a_request_of_its_own_with_a_seed_of_its_own() -> None:
    engine = ScriptedEngine(told)

    deltas = [part async for part in generate_choices(engine, REQUEST, 3)]

    assert [(one.request_id, one.sampling.seed) for one in engine.requests] == [
        ("r:0", 7),
        ("r:1", 8),
        ("r:2", 9),
    ]
    for choice in range(3):
        said = [part.text for part in deltas if part.choice == choice]
        assert said == [f"I am {choice}", "."]


async def test_every_choice_keeps_to_the_text_that_the_request_keeps_to() -> None:
    engine = ScriptedEngine(told)

    async for _ in generate_choices(engine, replace(REQUEST, keeps_to="A medlar."), 2, [ASKED, ASKED]):
        pass

    assert [one.keeps_to for one in engine.requests] == ["A medlar."] * 4


async def test_one_choice_is_the_request_itself() -> None:
    engine = ScriptedEngine(spoken("Hello."))

    assert [part.choice async for part in generate_choices(engine, REQUEST, 1)] == [0]
    assert engine.requests == [REQUEST]


async def test_choices_without_a_seed_have_none() -> None:
    engine = ScriptedEngine(told)

    async for _ in generate_choices(engine, replace(REQUEST, sampling=Sampling()), 2):
        pass

    assert [one.sampling.seed for one in engine.requests] == [None, None]


async def test_an_error_of_one_choice_ends_all_of_them() -> None:
    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        yield delta("so far")
        if request.request_id == "r:1":
            raise EngineUnavailable("its process died")
        async for part in told(request):
            yield part

    engine = ScriptedEngine(script)
    with pytest.raises(EngineUnavailable):
        async for _ in generate_choices(engine, REQUEST, 3):
            pass

    assert engine.slots_held == 0


async def test_a_reader_that_leaves_frees_the_slots_of_all_choices() -> None:
    engine = ScriptedEngine(told)

    async with aclosing(generate_choices(engine, REQUEST, 3)) as deltas:
        async for _ in deltas:
            break

    assert engine.slots_held == 0


async def test_the_choice_that_is_kept_is_the_turn(host: ModelHost, ada: ModelId) -> None:
    async with aclosing(await begin_reply(host, ScriptedEngine(told), three(ada, 1), stream=True)) as reply:
        deltas = [delta async for delta in reply]

    [turn] = await host.read_log(ada)
    assert turn.reply == "I am 1."
    assert reply.interaction == turn
    assert sorted(delta.choice for delta in deltas if delta.finish_reason is not None) == [0, 1, 2]


async def test_of_choices_of_which_none_is_kept_nothing_is_recorded(host: ModelHost, ada: ModelId) -> None:
    async with aclosing(
        await begin_reply(host, ScriptedEngine(told), three(ada, None), stream=True)
    ) as reply:
        deltas = [delta async for delta in reply]

    assert len([delta for delta in deltas if delta.finish_reason is not None]) == 3
    assert reply.grant is not None
    assert reply.interaction is None
    assert await host.read_log(ada) == ()
    assert (await take_turn(host, turn_of(ada, "op-2"))).position == 0

"""A correction counts from the next turn on: its question, asked again, is answered as the person wants."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from populace.actors.engine import Message, Sampling
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Hosts
from populace.actors.turn import BASE_REVISION, ModelId, TurnRequest
from populace.actors.turns.requests import make_request
from populace.policies.retrieval import HEADING, Exchange, Retrieval
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock, ScriptedEngine, spoken
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.test_retrieval import say
from tests.actors.turns import grant_of, reply, turn_of

DOG = "What is my dog called?"
BRUNO = "Your dog is called Bruno."


def asking(
    model: ModelId, text: str, *, count: int = 0, before: Sequence[Message] = (), alias: str = "latest"
) -> TurnRequest:
    wanted = Retrieval.of((*before, Message("user", text)), count, corrections=True)
    return replace(turn_of(model, f"ask {text}"), retrieval=wanted, alias=alias)


async def correcting(hosts: Hosts | ModelHost, request: TurnRequest) -> Exchange | None:
    turn = await grant_of(hosts, request)
    await hosts.abandon_turn(turn, "it was only looked at")
    return turn.correction


@pytest.fixture
async def ada(hosts: Hosts, tenant: str) -> ModelId:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    await say(hosts, model, "My sister has a dog.", "Nice.", "op-0")
    await say(hosts, model, DOG, "Your dog is called Rex.", "op-1")
    return model


async def test_a_correction_applies_from_the_next_turn_on(hosts: Hosts, ada: ModelId) -> None:
    assert await correcting(hosts, asking(ada, DOG)) is None
    await hosts.give_feedback(ada, 1, Opinion(correction=BRUNO))

    found = await correcting(hosts, asking(ada, "what's the name of my dog"))

    assert found is not None
    assert (found.position, found.said, found.answered) == (1, DOG, BRUNO)
    assert await correcting(hosts, asking(ada, "Why is the sky blue?")) is None


@IN_ONE_PROCESS
async def test_what_only_goes_on_with_what_was_said_is_corrected_nowhere_else(
    hosts: Hosts, ada: ModelId
) -> None:
    said = (Message("user", "Shall I ask about my dog?"), Message("assistant", "Do you want to?"))
    turn = await grant_of(hosts, turn_of(ada, "op-2"))
    yes = reply("It is called Rex.", asked="Yes.")
    await hosts.finish_turn(turn, replace(yes, messages=(*said, *yes.messages)))
    await hosts.give_feedback(ada, 2, Opinion(correction=BRUNO))
    elsewhere = (Message("user", "Book it."), Message("assistant", "Do you confirm the price?"))

    assert await correcting(hosts, asking(ada, "yes", before=elsewhere)) is None
    assert await correcting(hosts, asking(ada, "Yes!")) is None


@IN_ONE_PROCESS
async def test_of_long_messages_the_ends_tell_apart(hosts: Hosts, ada: ModelId) -> None:
    task = (
        "Rewrite the text politely. " + "Keep the tone, never promise a date, and sign with the name. " * 12
    )
    await say(hosts, ada, f"{task}\n\nWe are late.", "Sorry.", "op-2")
    await hosts.give_feedback(ada, 2, Opinion(correction="We apologise for the delay."))

    assert await correcting(hosts, asking(ada, f"{task}\n\nYour payment is missing.")) is None
    assert await correcting(hosts, asking(ada, f"{task}\n\nWe are late.")) is not None


@IN_ONE_PROCESS
async def test_the_newest_correction_of_a_reply_applies(hosts: Hosts, ada: ModelId) -> None:
    await hosts.give_feedback(ada, 1, Opinion(correction=BRUNO))
    await correcting(hosts, asking(ada, DOG))
    await hosts.give_feedback(ada, 1, Opinion(correction="Your dog is called Otto."))

    found = await correcting(hosts, asking(ada, DOG))

    assert found is not None
    assert found.answered == "Your dog is called Otto."


async def test_of_equal_questions_the_correction_given_last_applies(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host()
    model = (await host.create_model(ModelId("acme", "ada"))).model
    await say(host, model, DOG, "Your dog is called Rex.", "op-0")
    await say(host, model, DOG, "Your dog is called Max.", "op-1")
    await host.give_feedback(model, 1, Opinion(correction="Your dog is called Otto."))
    clock.advance(1)
    await host.give_feedback(model, 0, Opinion(correction=BRUNO))

    for question in (DOG, "what's the name of my dog"):
        found = await correcting(host, asking(model, question))

        assert found is not None
        assert (found.position, found.answered) == (0, BRUNO)


@IN_ONE_PROCESS
async def test_it_is_shown_beside_what_is_retrieved_and_but_once(hosts: Hosts, ada: ModelId) -> None:
    await hosts.give_feedback(ada, 1, Opinion(correction=BRUNO))

    turn = await grant_of(hosts, asking(ada, DOG, count=2))
    await hosts.abandon_turn(turn, "it was only looked at")

    assert [one.position for one in turn.retrieved] == [1, 0]
    assert turn.correction == turn.retrieved[0]


@IN_ONE_PROCESS
async def test_a_peek_has_it_and_a_peek_at_the_base_has_not(hosts: Hosts, ada: ModelId) -> None:
    await hosts.give_feedback(ada, 1, Opinion(correction=BRUNO))

    grant = await hosts.begin_peek(asking(ada, DOG))
    of_base = await hosts.begin_peek(asking(ada, DOG, alias=BASE_REVISION))

    assert grant.correction is not None
    assert of_base.correction is None


async def test_the_reply_is_drawn_towards_the_correction(make_host: MakeHost) -> None:
    engine = ScriptedEngine(spoken("Hm."))
    host = make_host(engine=engine)
    model = (await host.create_model(ModelId("acme", "ada"))).model
    await say(host, model, DOG, "Your dog is called Rex.", "op-0")
    await host.give_feedback(model, 0, Opinion(correction=BRUNO))
    before = (Message("user", DOG), Message("assistant", "Your dog is called Rex."))

    for number, (told, asked, wanted, kept) in enumerate(
        [
            ((), DOG, True, BRUNO),
            (before, DOG, True, BRUNO),  # also where the conversation has the wrong reply
            ((), DOG, False, ""),
            ((), "Why is the sky blue?", True, ""),
        ]
    ):
        request = make_request(
            model,
            (*told, Message("user", asked)),
            Sampling(),
            operation=f"ask-{number}",
            corrections=wanted,
            turn_seconds_max=60.0,
        )
        interaction = await host.chat(request)

        sent = engine.requests[-1]
        assert sent.keeps_to == kept
        assert interaction.retrieved == ((0,) if kept else ())
        first = sent.prompt[0]
        assert isinstance(first, Message)
        assert (HEADING in first.content) == bool(kept)


async def test_a_long_correction_is_shown_and_not_kept_to(make_host: MakeHost) -> None:
    engine = ScriptedEngine(spoken("Hm."))
    host = make_host(engine=engine)
    model = (await host.create_model(ModelId("acme", "ada"))).model
    await say(host, model, DOG, "Rex.", "op-0")
    await host.give_feedback(model, 0, Opinion(correction="Bruno. " * 200))
    request = make_request(model, (Message("user", DOG),), Sampling(), operation="ask", turn_seconds_max=60.0)

    interaction = await host.chat(request)

    assert interaction.retrieved == (0,)
    assert engine.requests[-1].keeps_to == ""

"""A question is answered from the turn that tells it, if that can be read off there, and else as ever."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import AdapterRef, Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import TurnExpired
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.host.retriever import NEWEST_MAX
from populace.actors.hosts import Hosts
from populace.actors.turn import BASE_REVISION, ChatRequest, Interaction, ModelId
from populace.actors.turns.requests import make_request
from populace.actors.turns.told_replies import told_reply
from populace.actors.turns.turn_director import begin_reply
from populace.encoder.on_use import EncoderOnUse
from populace.policies.tellings import READING_TASK
from tests.actors.conftest import MakeHost
from tests.actors.fakes import BASE, ScriptedEngine
from tests.actors.turns import grant_of, reply, turn_of

ADA = ModelId("acme", "ada")
TOLD = "My dog is called Bruno."
ASKED = "What is my dog called?"
AS_EVER = "I cannot know that."


class Reader:
    """A script that says ``read`` where it is asked to read, and else ``AS_EVER``."""

    def __init__(self, read: str = "Your dog is called Bruno.") -> None:
        self.read = read
        self.unlearned: AdapterRef | None = None
        self.finish_reason: Any = "stop"
        self.hangs = False

    async def __call__(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        first = request.prompt[0]
        reads = isinstance(first, Message) and first.content.endswith(READING_TASK)
        if reads and self.hangs:
            await asyncio.Event().wait()
        state = b"written" if request.memory is not None and request.memory.new_from is not None else None
        text, reason = (self.read, self.finish_reason) if reads else (AS_EVER, "stop")
        if reads and request.adapter is not None and request.adapter == self.unlearned:
            text = "You have not told me what your dog is called."
        yield Delta(text, tuple(map(ord, text)), 7, finish_reason=reason, memory=state)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def engine(reader: Reader) -> ScriptedEngine:
    one = ScriptedEngine(reader)
    one.base = BASE._replace(memory_module="m" * 64)
    return one


@pytest.fixture
async def host(make_host: MakeHost, engine: ScriptedEngine) -> ModelHost:
    host = make_host(engine=engine)
    await host.create_model(ADA)
    for number, text in enumerate((TOLD, "It rains.", "Tell me a joke about penguins.")):
        await say(host, text, f"told-{number}")
    return host


def request(text: str, operation: str, *before: Message, **options: Any) -> ChatRequest:
    options = {"sampling": Sampling(temperature=0.7), "turn_seconds_max": 60.0, **options}
    sampling = options.pop("sampling")
    return make_request(ADA, (*before, Message("user", text)), sampling, operation=operation, **options)


async def say(host: ModelHost, text: str, operation: str, *before: Message, **options: Any) -> Interaction:
    return await host.chat(request(text, operation, *before, **options))


async def test_it_is_read_off_the_turn_that_tells_it(host: ModelHost, engine: ScriptedEngine) -> None:
    before = (Message("user", "Hi."), Message("assistant", "Hello."))
    memory = await host.memories.show(ADA)

    made = await say(host, ASKED, "ask", *before)

    assert (made.reply, made.retrieved, made.history_turns) == ("Your dog is called Bruno.", (0,), 0)
    assert made.messages == (*before, Message("user", ASKED)), "the log has what was said"
    sent = engine.requests[-1]
    assert sent.prompt[-1] == Message("user", f"{TOLD} {ASKED}")
    assert not any(isinstance(one, Message) and one.content == "Hi." for one in sent.prompt)
    assert (sent.sampling, sent.memory) == (Sampling(64, temperature=0.0), None)
    assert made.memory is None, "it neither read nor wrote"
    assert (await host.memories.show(ADA)).state == memory.state


async def test_a_turn_that_tells_it_is_read_until_the_deadline(
    host: ModelHost, engine: ScriptedEngine, reader: Reader
) -> None:
    reader.hangs = True

    with pytest.raises(TurnExpired):
        await say(host, ASKED, "ask", turn_seconds_max=0.02)

    assert engine.slots_held == 0


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        ("Your dog is called Rex.", "stop"),
        ("My dog is called Bruno.", "stop"),
        ("Your dog is called Bruno, a fine", "stop"),
        ("Your dog is called Bruno.", "length"),
        ("", "stop"),
    ],
    ids=["made up", "an echo", "broken off", "too long", "empty"],
)
async def test_what_is_no_answer_is_not_shown(
    host: ModelHost, engine: ScriptedEngine, reader: Reader, read: str, reason: str
) -> None:
    reader.read, reader.finish_reason = read, reason

    made = await say(host, ASKED, "ask")

    assert (made.reply, made.retrieved) == (AS_EVER, ())
    assert [one.request_id.rpartition(":")[2] for one in engine.requests[-2:]] == ["told", "0"]
    assert made.memory is not None
    assert made.memory.written_from is not None


async def test_a_name_told_in_greeting_is_found_however_long_ago(
    make_host: MakeHost, engine: ScriptedEngine, reader: Reader
) -> None:
    """The words of a greeting are not those of the question, so that its turn is no newest one for long."""
    host = make_host(engine=engine)
    await host.create_model(ADA)
    await say(host, "Hi, I'm Nora.", "hello")
    for number in range(NEWEST_MAX + 8):
        await say(host, f"It rains, for the {number}th time.", f"rain-{number}")
    reader.read = "Your name is Nora."

    made = await say(host, "What is my name?", "ask")

    assert (made.reply, made.retrieved) == ("Your name is Nora.", (0,))


async def test_the_base_reads_what_a_model_has_unlearned_to_read(
    host: ModelHost, engine: ScriptedEngine, reader: Reader
) -> None:
    """Who corrects "You have not told me your blood type." may get it for their name, which they told."""
    asking = request(ASKED, "ask")
    granted = await grant_of(host, asking.turn)
    assert granted.telling is not None
    adapter = AdapterRef("a" * 64, "there")
    reader.unlearned = adapter

    told = await told_reply(engine, asking, replace(granted, adapter=adapter), granted.telling)

    assert told is not None
    assert told.text == "Your dog is called Bruno."
    readings = [one for one in engine.requests if ":told" in one.request_id]
    assert [one.adapter for one in readings] == [adapter, None]
    assert len({one.request_id for one in readings}) == 2
    await host.abandon_turn(granted, "it was a trial")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Why is my dog called Bruno?", {}),
        ("My dog is called Bruno, I said.", {}),
        ("What is the capital of Italy?", {}),
        (ASKED, {"told": False}),
        (ASKED, {"retrieved": 1, "told": False}),
        (ASKED, {"sampling": Sampling(logprobs=1)}),
        (ASKED, {"sampling": Sampling(response_pattern="a+")}),
        (ASKED, {"template": {"tools": "[]"}}),
        (ASKED, {"whole": True}),
    ],
)
async def test_nothing_else_is_read(
    host: ModelHost, engine: ScriptedEngine, text: str, options: dict[str, Any]
) -> None:
    await say(host, text, "ask", **options)

    assert not any(one.request_id.endswith(":told") for one in engine.requests)


@pytest.mark.parametrize(
    "before",
    [
        (Message("system", "Answer in French."),),
        (Message("user", "My dog is called Rex, she is new."), Message("assistant", "Hello Rex!")),
    ],
    ids=["instructions", "told in the conversation itself"],
)
async def test_what_the_request_says_itself_goes_before(
    host: ModelHost, engine: ScriptedEngine, before: tuple[Message, ...]
) -> None:
    made = await say(host, ASKED, "ask", *before)

    assert made.reply == AS_EVER
    assert not any(one.request_id.endswith(":told") for one in engine.requests)


async def test_what_was_told_stays_told_whatever_was_said_of_its_reply(host: ModelHost) -> None:
    await host.give_feedback(ADA, 0, Opinion(thumb=False))
    assert (await say(host, ASKED, "after a dislike")).retrieved == (0,)

    await host.give_feedback(ADA, 0, Opinion(correction="A fine name."))
    assert (await say(host, ASKED, "after a correction")).retrieved == (0,)


async def test_several_choices_are_made_as_ever(host: ModelHost, engine: ScriptedEngine) -> None:
    made = await host.chat(replace(request(ASKED, "ask"), choices=2))

    assert made.reply == AS_EVER
    assert not any(one.request_id.endswith(":told") for one in engine.requests)


async def test_a_short_reply_is_asked_for_as_short(host: ModelHost, engine: ScriptedEngine) -> None:
    await say(host, ASKED, "ask", sampling=Sampling(5))

    assert engine.requests[-1].sampling.max_tokens == 5


async def test_a_correction_comes_before_it(host: ModelHost, engine: ScriptedEngine) -> None:
    await say(host, "How do people call my dog?", "other")
    await host.give_feedback(ADA, 3, Opinion(correction="Brunello."))

    made = await say(host, "How do people call my dog?", "ask")

    assert made.retrieved == (3,)
    assert engine.requests[-1].keeps_to == "Brunello."


async def test_what_was_told_anew_or_forgotten_counts(host: ModelHost, engine: ScriptedEngine) -> None:
    await say(host, "My dog is called Rex now.", "anew")
    await say(host, ASKED, "ask")
    told = [one.prompt[-1] for one in engine.requests if one.request_id.endswith(":told")]
    assert told == [Message("user", f"My dog is called Rex now. {ASKED}")]

    await host.forgetting.forget(ADA, (3,), "forget")
    made = await say(host, ASKED, "again")
    assert made.retrieved == (0,)


async def test_it_is_streamed_whole(host: ModelHost, engine: ScriptedEngine) -> None:
    async with aclosing(await begin_reply(host, engine, request(ASKED, "ask"), stream=True)) as running:
        said = [delta.text async for delta in running]

    assert said == ["Your dog is called Bruno."]
    assert running.interaction is not None
    assert running.interaction.retrieved == (0,)


async def test_a_peek_is_answered_from_it_and_one_at_the_base_is_not(hosts: Hosts, tenant: str) -> None:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    asked = request(ASKED, "ask").turn.retrieval
    await hosts.finish_turn(await grant_of(hosts, turn_of(model, "told")), reply("Nice.", asked=TOLD))

    found = await hosts.begin_peek(replace(turn_of(model, "ask"), retrieval=asked))
    of_base = await hosts.begin_peek(replace(turn_of(model, "ask", alias=BASE_REVISION), retrieval=asked))

    assert found.telling is not None
    assert (found.telling.position, found.telling.said) == (0, TOLD)
    assert of_base.telling is None


@pytest.fixture
async def host_with_encoder(make_host: MakeHost, engine: ScriptedEngine, encoder_files: Path) -> ModelHost:
    host = make_host(engine=engine, encoder=EncoderOnUse(encoder_files))
    await host.create_model(ADA)
    for number, text in enumerate((TOLD, "It rains.", "I live in Maribor, in a flat over a bakery.")):
        await say(host, text, f"told-{number}")
    return host


async def test_with_an_encoder_other_words_find_what_was_told(
    host_with_encoder: ModelHost, reader: Reader
) -> None:
    reader.read = "You live in Maribor."

    made = await say(host_with_encoder, "Which town do I live in?", "ask")

    assert (made.reply, made.retrieved) == ("You live in Maribor.", (2,))
    other = await say(host_with_encoder, "Which town does my sister live in?", "other")
    assert (other.reply, other.retrieved) == (AS_EVER, ())


async def test_without_one_words_alone_find_it(host: ModelHost, reader: Reader) -> None:
    await say(host, "I live in Maribor, in a flat over a bakery.", "town")
    reader.read = "You live in Maribor."

    assert (await say(host, "Which town do I live in?", "ask")).retrieved == ()


async def test_with_an_encoder_other_words_find_a_correction(
    host_with_encoder: ModelHost, engine: ScriptedEngine
) -> None:
    asked = await say(host_with_encoder, "Which firm are we renting the car from?", "first")
    await host_with_encoder.give_feedback(ADA, asked.position, Opinion(correction="From Ilha Verde."))

    made = await say(host_with_encoder, "Where did we get our rental car from, which firm?", "again")

    assert made.retrieved == (asked.position,)
    assert engine.requests[-1].keeps_to == "From Ilha Verde."


async def test_the_vectors_of_a_model_count_as_its_bytes(host_with_encoder: ModelHost) -> None:
    before = (await host_with_encoder.statistics())[0].resident_bytes
    await say(host_with_encoder, "Which town do I live in?", "ask")

    assert (await host_with_encoder.statistics())[0].resident_bytes - before > 2 * 384 * 2


async def test_the_examples_that_a_question_is_read_with_are_no_earlier_replies(
    host: ModelHost, engine: ScriptedEngine
) -> None:
    sampling = Sampling(own_words_penalty=1.1)
    await say(host, ASKED, "read", retrieved=1, told=False, sampling=sampling)
    await say(host, "Tell me a joke.", "chat", retrieved=1, told=False, sampling=sampling)

    read, said = engine.requests[-2:]
    assert read.prompt[-1] == Message("user", f"{TOLD} {ASKED}")
    assert (read.sampling.own_words_penalty, said.sampling.own_words_penalty) == (1.0, 1.1)

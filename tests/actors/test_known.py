"""What a model knows of its person: answers, the turns that they are from, and nothing left behind."""

import asyncio
import math
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling, TokenLogprob
from populace.actors.errors import EngineUnavailable, InvalidRequest
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.known import (
    LOG_QUESTIONS_MAX,
    QUESTION_CHARACTERS_MAX,
    QUESTIONS,
    QUESTIONS_MAX,
    SURE_MIN,
    Answer,
    KnownFact,
    known_facts,
    log_questions,
    shown,
)
from populace.actors.turn import ChatRequest, TurnRequest
from populace.policies.tellings import READING_TASK
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.forgetful import ADA, MODULE, Ada
from tests.actors.turns import revision

TOLD = (
    (0, "I just moved to Ghent last month and I'm still finding my way in."),
    (1, "My cat is called Mr Biscuit."),
    (3, "What a day! I stayed in and put in some extra hours."),
)


def answer(question: str, text: str, chance: float = 0.5) -> Answer:
    pieces = [f" {word}" if number else word for number, word in enumerate(text.split())]
    return Answer(question, text, tuple(TokenLogprob(7, piece, math.log(chance)) for piece in pieces))


def test_an_answer_is_from_the_turn_that_bears_it_out() -> None:
    facts = known_facts(
        [
            answer("Where do I live?", "You live in Ghent.", 0.25),
            answer("What is my cat's name?", "Your cat is called Mr Biscuit.", 0.75),
            answer("What is my favorite food?", "You have not told me."),
        ],
        TOLD,
    )

    assert [(one.answer, one.position, one.said) for one in facts] == [
        ("You live in Ghent.", 0, TOLD[0][1]),
        ("Your cat is called Mr Biscuit.", 1, TOLD[1][1]),
    ]
    assert [one.sure for one in facts] == [pytest.approx(0.25), pytest.approx(0.75)]


def test_no_fact_is_shown_that_is_less_certain_than_asked_for() -> None:
    facts = [KnownFact(f"Question {sure}?", "Yes.", sure, 0, "Yes.") for sure in (0.5, 0.79, 0.8, 0.95)]
    asked = [fact.question for fact in facts]

    known = shown(ADA, asked, facts, SURE_MIN, position=1)

    assert [fact.sure for fact in known.facts] == [0.95, 0.8]
    assert known.unknown == ("Question 0.5?", "Question 0.79?")
    assert len(shown(ADA, asked, facts, 0.5, position=1).facts) == 4
    assert "Yes. (95% sure, from turn 0: Yes.)" in str(known)


def test_what_was_told_last_counts_and_what_it_replaces_does_not() -> None:
    turns = [(4, "I live in Oslo."), (7, "Fine weather."), (9, "I live in Rome now."), (11, "Oslo!")]

    [fact] = known_facts([answer("Where do I live?", "You live in Rome.")], turns)
    assert fact.position == 9
    assert known_facts([answer("Where do I live?", "You live in Oslo.")], turns) == ()
    assert known_facts([answer("Where do I live?", "You live in Oslo.")], turns[:2])[0].position == 4


def test_what_is_so_no_longer_ends_what_was_told_before() -> None:
    turns = [(0, "I play volleyball."), (1, "I used to play volleyball.")]

    assert known_facts([answer("Which sport do I play?", "You play volleyball.")], turns) == ()


def test_what_is_said_of_a_thing_later_leaves_its_name() -> None:
    turns = [(0, "My son is called Emeka."), (1, "My son is ill.")]

    [fact] = known_facts([answer("What is my son's name?", "Your son is called Emeka.")], turns)
    assert fact.position == 0


def test_who_told_it_counts_and_not_who_asked_about_it_later() -> None:
    asked = "What does Mr Biscuit eat? Is my cat called Mr Biscuit?"
    known = known_facts([answer("What is my cat's name?", "It is Mr Biscuit.")], [*TOLD, (5, asked)])

    assert [one.position for one in known] == [1]
    assert known_facts([answer("What is my cat's name?", "It is Mr Biscuit.")], [(5, asked)]) == ()


@pytest.mark.parametrize("text", ["", "I do not know.", "You live in Paris.", "You have not told me."])
def test_what_nobody_said_is_not_known(text: str) -> None:
    assert known_facts([answer("Where do I live?", text)], TOLD) == ()


def test_a_value_that_a_memory_gives_to_every_question_is_of_the_one_that_asks_for_it() -> None:
    kinds = ("color", "food", "drink", "book")
    asked = [answer(f"What is my favorite {kind}?", f"Your favorite {kind} is green.") for kind in kinds]

    facts = known_facts(asked, [(0, "My favorite color is green."), (1, "Fine weather.")])

    assert [(fact.question, fact.position) for fact in facts] == [("What is my favorite color?", 0)]


BROTHER = "My brother is called Emil."


class Replies:
    """Repeat what is said, and answer what is ``asked`` by the state, once they may ``go_on``."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        asked = request.prompt[-1]
        assert isinstance(asked, Message)
        task = request.prompt[0]
        if asked.content.startswith(BROTHER) and task == Message("system", READING_TASK):
            text, token = "Your brother is called Emil.", ()
        elif request.sampling.logprobs is None:
            text, token = f"I heard: {asked.content}", ()
        else:
            self.asked.set()
            await self.go_on.wait()
            if self.failure is not None:
                raise self.failure
            if request.memory is None or request.memory.state is None:
                text = "As an AI, I live nowhere."
            else:
                assert request.memory.new_from is None
                assert request.memory.state == b"state"
                text = "You live in Ghent." if "live" in asked.content else "You have not told me."
            token = (TokenLogprob(7, text, math.log(0.5)),)
        writes = request.memory is not None and request.memory.new_from is not None
        yield Delta(text, (7,), 3, token, "stop", b"state" if writes else None)


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def engine(replies: Replies) -> ScriptedEngine:
    engine = ScriptedEngine(replies)
    engine.base = BASE._replace(memory_module=MODULE)
    return engine


@pytest.fixture
async def ada(tmp_path: Path, clock: FakeClock, engine: ScriptedEngine) -> AsyncGenerator[Ada]:
    store = Store.create_or_open(tmp_path / "store", 1)
    host = ModelHost("host", store, [0], base=BASE.fingerprint, clock=clock, engine=engine)
    await host.create_model(ADA)
    yield Ada(host)
    assert engine.slots_held == 0
    host.check_integrity()
    host.close()


async def ask(ada: Ada, *questions: str) -> tuple[KnownFact, ...]:
    """Wait for what the model knows now, however uncertain it is."""
    return (await ada.host.memories.known(ADA, questions, sure_min=0, wait=True)).facts


async def test_a_model_is_asked_and_nothing_is_left_of_it(ada: Ada) -> None:
    await ada.say("I just moved to Ghent.")
    before, log = await ada.host.memories.show(ADA), await ada.log()

    known = await ada.host.memories.known(ADA, (), sure_min=0.4, wait=True)

    assert [(one.question, one.answer, one.position) for one in known.facts] == [
        ("Where do I live?", "You live in Ghent.", 0)
    ]
    assert len(known.unknown) == len(QUESTIONS) - 1
    assert (known.position, known.refreshing, known.sure_min) == (1, False, 0.4)
    assert await ada.host.memories.show(ADA) == before
    assert await ada.log() == log
    assert (await ada.say("And now?")).position == 1


async def test_what_was_answered_is_shown_at_once_while_the_model_is_asked_anew(ada: Ada) -> None:
    await ada.say("I just moved to Ghent.")
    first = await ada.host.memories.known(ADA, (), sure_min=0)
    assert (first.position, first.facts, first.unknown, first.refreshing) == (None, (), (), True)
    assert "was not asked yet" in str(first)
    assert (await ada.host.memories.known(ADA, (), sure_min=0, wait=True)).position == 1
    await ada.say(BROTHER)

    at_once = await ada.host.memories.known(ADA, (), sure_min=0)
    anew = await ada.host.memories.known(ADA, (), sure_min=0, wait=True)
    again = await ada.host.memories.known(ADA, (), sure_min=0)

    assert (at_once.position, at_once.refreshing, len(at_once.facts)) == (1, True, 1)
    assert (anew.position, anew.refreshing, len(anew.facts)) == (2, False, 2)
    assert again == anew
    assert (await ada.host.memories.known(ADA, ())).facts == (anew.facts[0],), "the other is half sure"


async def test_a_turn_does_not_wait_for_the_questions(ada: Ada, replies: Replies) -> None:
    await ada.say("I just moved to Ghent.")
    replies.go_on.clear()
    asking = asyncio.create_task(ada.host.memories.known(ADA, (), sure_min=0, wait=True))
    assert (await ada.host.memories.known(ADA, ())).refreshing

    assert (await ada.say("And now?")).position == 1
    assert not asking.done()
    replies.go_on.set()
    assert (await asking).position == 2, "the turn that came meanwhile is waited for too"


async def test_what_is_forgotten_or_corrected_meanwhile_is_not_kept(ada: Ada, replies: Replies) -> None:
    await ada.say("I just moved to Ghent.")
    await ada.say("Where do I live?")
    assert len(await ask(ada)) == 1
    replies.go_on.clear()
    await ada.say("Fine.")
    asking = asyncio.create_task(ada.host.memories.known(ADA, (), sure_min=0, wait=True))
    assert len((await ada.host.memories.known(ADA, (), sure_min=0)).facts) == 1
    await ada.host.give_feedback(ADA, 1, Opinion(correction="You live in Bruges."))

    assert (await ada.host.memories.known(ADA, (), sure_min=0)).facts == ()
    replies.go_on.set()
    assert [fact.answer for fact in (await asking).facts] == ["You live in Bruges."]

    await ada.forget(1, memory="emptied")
    known = await ada.host.memories.known(ADA, (), sure_min=0)
    assert (known.facts, known.refreshing) == ((), True)
    await ask(ada)


async def test_a_question_made_of_a_forgotten_turn_is_not_shown(ada: Ada) -> None:
    await ada.say(BROTHER)
    await ada.say("My lawyer knows.")
    assert len(await ask(ada)) == 1

    await ada.forget(0, memory="emptied")

    known = await ada.host.memories.known(ADA, ())
    assert known.facts == ()
    assert not any("brother" in question for question in known.unknown)
    await ask(ada)


async def test_a_revision_that_is_promoted_has_the_model_asked_anew(ada: Ada) -> None:
    await ada.say("I just moved to Ghent.")
    await ask(ada)
    assert not (await ada.host.memories.known(ADA, ())).refreshing

    await ada.host.publish_revision(ADA, revision())

    assert (await ada.host.memories.known(ADA, ())).refreshing
    await ask(ada)
    assert not (await ada.host.memories.known(ADA, ())).refreshing


async def test_an_erased_model_is_asked_no_more(ada: Ada, replies: Replies) -> None:
    await ada.say("I just moved to Ghent.")
    replies.go_on.clear()
    asking = asyncio.create_task(ada.host.memories.known(ADA, (), wait=True))
    await replies.asked.wait()
    await ada.host.erase_model(ADA)
    await ada.host.create_model(ADA)

    replies.go_on.set()

    assert (await asking).facts == (), "a namesake has none of them"


def test_what_people_call_their_own_is_asked_for() -> None:
    turns = [
        (0, "My brother is called Emil and I collect stamps."),
        (1, "What is my bicycle worth? My cat is asleep."),
        (2, "My sister’s dog is a beagle, and my brother fears it."),
    ]

    assert log_questions(turns) == ("What is my sister's dog?", "What is my brother?")
    assert log_questions(turns[:1]) == ("What is my brother's name?",)
    assert (
        len(log_questions([(0, " ".join(f"My thing{'x' * n} broke." for n in range(99)))]))
        == LOG_QUESTIONS_MAX
    )


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("My locker code is 4711, and the dog is called Rex.", "What is my locker code?"),
        ("The dog is called Rex. My locker is by the door.", "What is my locker?"),
        ("My locker is green and my dog is called Rex.", "What is my locker?"),
        ("My boat, which is called Bella, leaks.", "What is my boat's name?"),
        ("My boat leaks. It is called Bella.", "What is my boat's name?"),
        ("I named my boat Bella.", "What is my boat's name?"),
    ],
)
def test_a_name_is_asked_for_if_it_is_of_that_thing(text: str, question: str) -> None:
    assert log_questions([(0, text)]) == (question,)


def test_an_answer_that_never_ended_is_no_fact() -> None:
    whole = answer("What is my cat's name?", "Your cat is Mr Biscuit.")

    assert known_facts([whole], TOLD)
    assert known_facts([whole._replace(whole=False)], TOLD) == ()


async def test_a_model_is_asked_for_what_its_log_speaks_of(ada: Ada, engine: ScriptedEngine) -> None:
    await ada.say("My sister is ill. Do I live in Ghent?")
    before = len(engine.requests)
    await ask(ada)

    asked = [request.prompt[-1] for request in engine.requests[before:]]
    assert asked, "it has a sister"
    for message in asked:
        assert isinstance(message, Message)
        assert message.content.endswith("What is my sister?"), "nothing else is told"


async def test_what_a_chat_would_read_in_the_log_is_known_too(ada: Ada) -> None:
    """A memory remembers a few facts, and a person sees what the chat answers."""
    await ada.say("Good morning!")
    await ada.say(BROTHER)

    [fact] = await ask(ada)

    assert (fact.question, fact.answer) == ("What is my brother's name?", "Your brother is called Emil.")
    assert (fact.position, fact.said, fact.read, fact.sure) == (1, BROTHER, True, 1.0)
    assert len(await ada.log()) == 2


async def test_a_corrected_answer_is_known_as_it_was_corrected(ada: Ada) -> None:
    await ada.say("What car do I drive?")
    await ada.host.give_feedback(ADA, 0, Opinion(correction="You drive a Volvo."))
    await ada.say("I just moved to Ghent.")

    assert [(fact.answer, fact.position, fact.read) for fact in await ask(ada)] == [
        ("You drive a Volvo.", 0, True),
        ("You live in Ghent.", 1, False),
    ]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("I have a tortoise called Klaus.", "What is my tortoise's name?"),
        ("We adopted a grey cat named Mimo.", "What is my grey cat's name?"),
    ],
)
def test_what_people_have_and_name_is_asked_for(text: str, question: str) -> None:
    assert log_questions([(0, text)]) == (question,)
    assert log_questions([(0, f"Why? {text.replace('called', 'like').replace('named', 'like')}")]) == ()


async def test_what_was_forgotten_is_no_source(ada: Ada) -> None:
    await ada.say("I just moved to Ghent.")
    await ada.say("Nice weather.")
    await ada.forget(0, memory="emptied")
    await ada.say("Fine.")

    assert await ask(ada, "Where do I live?") == ()


async def test_what_a_tool_returned_is_no_source_and_no_message_that_was_written(ada: Ada) -> None:
    call = Message("assistant", '[{"name": "home", "arguments": {}}]')
    said = (Message("user", "Look it up."), call, Message("tool", "You live in Ghent."))

    await ada.host.chat(ChatRequest(TurnRequest(ADA, "op-tool", b"tool"), said, Sampling()))

    assert await ask(ada, "Where do I live?") == ()
    [write] = (await ada.host.memories.show(ADA)).writes
    assert write.messages == 2


async def test_an_engine_that_fails_is_said_and_asked_again(ada: Ada, replies: Replies) -> None:
    await ada.say("I just moved to Ghent.")
    replies.failure = EngineUnavailable("it fails")

    for questions in ((), ("Where do I live?",)):
        with pytest.raises(EngineUnavailable, match="it fails"):
            await ask(ada, *questions)
    assert (await ada.say("Still there?")).position == 1

    replies.failure = None
    assert len(await ask(ada)) == 1


@pytest.mark.parametrize(
    "questions", [["  "], ["x" * (QUESTION_CHARACTERS_MAX + 1)], ["Why?"] * (QUESTIONS_MAX + 1)]
)
async def test_bad_questions_are_refused_by_name(ada: Ada, questions: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="question"):
        await ada.host.memories.known(ADA, questions)


async def test_a_host_without_an_engine_says_so(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.create_or_open(tmp_path / "store", 1)
    host = ModelHost("host", store, [0], base=BASE.fingerprint, clock=clock)
    await host.create_model(ADA)

    with pytest.raises(EngineUnavailable, match="without one"):
        await host.memories.known(ADA, ())
    host.close()

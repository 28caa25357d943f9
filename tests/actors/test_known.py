"""What a model knows of its person: answers, the turns that they are from, and nothing left behind."""

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
    Answer,
    KnownFact,
    known_of,
    log_questions,
)
from populace.actors.turn import ChatRequest, TurnRequest
from populace.policies.tellings import READING_TASK
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.forgetful import ADA, MODULE, Ada

TOLD = (
    (0, "I just moved to Ghent last month and I'm still finding my way in."),
    (1, "My cat is called Mr Biscuit."),
    (3, "What a day! I stayed in and put in some extra hours."),
)


def answer(question: str, text: str, chance: float = 0.5, of_base: str = "") -> Answer:
    pieces = [f" {word}" if number else word for number, word in enumerate(text.split())]
    return Answer(
        question, text, tuple(TokenLogprob(7, piece, math.log(chance)) for piece in pieces), of_base
    )


def test_an_answer_is_from_the_turn_that_has_its_words() -> None:
    known = known_of(
        ADA,
        [
            answer("Where do I live?", "You live in Ghent.", 0.25),
            answer("What is my cat's name?", "Your cat is called Mr Biscuit.", 0.75),
            answer("What is my favorite food?", "You have not told me."),
        ],
        TOLD,
    )

    assert [(one.answer, one.position, one.said) for one in known.facts] == [
        ("Your cat is called Mr Biscuit.", 1, TOLD[1][1]),
        ("You live in Ghent.", 0, TOLD[0][1]),
    ]
    assert [one.sure for one in known.facts] == [pytest.approx(0.75), pytest.approx(0.25)]
    assert known.unknown == ("What is my favorite food?",)
    assert "Ghent. (25% sure, from turn 0" in str(known)


def test_of_two_turns_with_the_same_words_the_newer_one_counts() -> None:
    known = known_of(
        ADA, [answer("Where do I live?", "You live in Oslo.")], [(4, "Oslo!"), (9, "It's Oslo.")]
    )

    assert [one.position for one in known.facts] == [9]


def test_who_told_it_counts_and_not_who_asked_about_it_later() -> None:
    asked = "What does Mr Biscuit eat? And where does Mr Biscuit sleep?"
    known = known_of(ADA, [answer("What is my cat's name?", "It is Mr Biscuit.")], [*TOLD, (5, asked)])

    assert [one.position for one in known.facts] == [1]
    only_asked = known_of(ADA, [answer("What is my cat's name?", "It is Mr Biscuit.")], [(5, asked)])
    assert [one.position for one in only_asked.facts] == [5]


def test_what_the_base_says_by_itself_is_of_no_turn() -> None:
    rambling = "Everybody needs extra hours for a cat."
    known = known_of(ADA, [answer("Which pets do I have?", rambling, of_base=rambling)], TOLD)

    assert known.facts == ()


@pytest.mark.parametrize("text", ["", "I do not know.", "You live in Paris."])
def test_what_nobody_said_is_not_known(text: str) -> None:
    known = known_of(ADA, [answer("Where do I live?", text)], TOLD)

    assert known.facts == ()
    assert known.unknown == ("Where do I live?",)


def test_how_answers_are_put_is_no_source() -> None:
    """A word that many answers have is of the way in which they are put."""
    asked = [answer(f"Question {number}?", "Nobody ever mentioned that.") for number in range(5)]

    assert known_of(ADA, asked, [(0, "Nobody mentioned the rain.")]).facts == ()


def test_what_many_answers_have_is_of_the_turn_that_speaks_of_what_is_asked() -> None:
    """A memory gives the one value that it holds to every question of the same kind."""
    kinds = ("color", "food", "drink", "book")
    asked = [answer(f"What is my favorite {kind}?", f"Your favorite {kind} is green.") for kind in kinds]

    known = known_of(ADA, asked, [(0, "My favorite color is green."), (1, "Fine weather.")])

    assert [(fact.question, fact.position) for fact in known.facts] == [("What is my favorite color?", 0)]
    assert len(known.unknown) == 3


def test_a_value_is_of_the_question_that_its_turn_speaks_of_and_of_no_other() -> None:
    turns = ((0, "My daughter is called Ines and she is seven."), (1, "I've just got a grey cat, Mimo."))
    asked = [
        answer("What is my cat's name?", "Your cat is called Mimo."),
        answer("What is my daughter's name?", "Your daughter is called Mimo."),
        answer("What car do I drive?", "You drive a grey."),
    ]

    known = known_of(ADA, asked, turns)

    assert [(fact.answer, fact.position) for fact in known.facts] == [
        ("Your cat is called Mimo.", 1),
        ("You drive a grey.", 1),
    ]
    assert known.unknown == ("What is my daughter's name?",)


def test_a_word_that_the_base_says_too_may_still_be_the_persons() -> None:
    ramble = "The most obvious answer is red, or green."
    [fact] = known_of(
        ADA,
        [answer("What is my favorite color?", "Your favorite color is green.", of_base=ramble)],
        [(0, "My favorite color is green.")],
    ).facts

    assert fact.position == 0


BROTHER = "My brother is called Emil."


async def replying(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    """Answer that the person lives where the state says, or repeat them."""
    asked = request.prompt[-1]
    assert isinstance(asked, Message)
    task = request.prompt[0]
    if asked.content.startswith(BROTHER) and task == Message("system", READING_TASK):
        text, token = "Your brother is called Emil.", ()
    elif request.sampling.logprobs is None:
        text, token = f"I heard: {asked.content}", ()
    else:
        if "fail" in asked.content:
            raise EngineUnavailable("it fails")
        if request.memory is None:
            text = "As an AI, I live nowhere."
        else:
            assert request.memory.new_from is None
            assert request.memory.state == b"state"
            text = "You live in Ghent." if "live" in asked.content else "You have not told me."
        token = (TokenLogprob(7, text, math.log(0.5)),)
    writes = request.memory is not None and request.memory.new_from is not None
    yield Delta(text, (7,), 3, token, "stop", b"state" if writes else None)


@pytest.fixture
async def ada(tmp_path: Path, clock: FakeClock) -> AsyncGenerator[Ada]:
    engine = ScriptedEngine(replying)
    engine.base = BASE._replace(memory_module=MODULE)
    store = Store.create_or_open(tmp_path / "store", 1)
    host = ModelHost("host", store, [0], base=BASE.fingerprint, clock=clock, engine=engine)
    await host.create_model(ADA)
    yield Ada(host)
    assert engine.slots_held == 0
    host.check_integrity()
    host.close()


async def test_a_model_is_asked_and_nothing_is_left_of_it(ada: Ada) -> None:
    await ada.say("I just moved to Ghent.")
    before, log = await ada.host.memories.show(ADA), await ada.log()

    known = await ada.host.memories.known(ADA, ())

    assert [(one.question, one.answer, one.position) for one in known.facts] == [
        ("Where do I live?", "You live in Ghent.", 0)
    ]
    assert len(known.unknown) == len(QUESTIONS) - 1
    assert await ada.host.memories.show(ADA) == before
    assert await ada.log() == log
    assert (await ada.say("And now?")).position == 1


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

    assert known_of(ADA, [whole], TOLD).facts
    assert known_of(ADA, [whole._replace(whole=False)], TOLD).unknown == (whole.question,)


async def test_a_model_is_asked_for_what_its_log_speaks_of(ada: Ada) -> None:
    await ada.say("My sister likes it.")

    assert "What is my sister?" in (await ada.host.memories.known(ADA, ())).unknown


async def test_what_a_chat_would_read_in_the_log_is_known_too(ada: Ada) -> None:
    """A memory remembers a few facts, and a person sees what the chat answers."""
    await ada.say("Good morning!")
    await ada.say(BROTHER)

    [fact] = (await ada.host.memories.known(ADA, ())).facts

    assert (fact.question, fact.answer) == ("What is my brother's name?", "Your brother is called Emil.")
    assert (fact.position, fact.said, fact.read, fact.sure) == (1, BROTHER, True, 1.0)
    assert len(await ada.log()) == 2


async def test_a_corrected_answer_is_known_as_it_was_corrected(ada: Ada) -> None:
    await ada.say("What car do I drive?")
    await ada.host.give_feedback(ADA, 0, Opinion(correction="You drive a Volvo."))
    await ada.say("I just moved to Ghent.")

    known = await ada.host.memories.known(ADA, ())

    assert [(fact.answer, fact.position, fact.read) for fact in known.facts] == [
        ("You drive a Volvo.", 0, True),
        ("You live in Ghent.", 1, False),
    ]


async def test_what_was_read_in_a_turn_that_is_gone_is_not_known(ada: Ada) -> None:
    read = KnownFact("What is my brother's name?", "Your brother is called Emil.", 1.0, 7, BROTHER, read=True)
    asked = Answer(read.question, read.answer, (), "")

    assert known_of(ADA, [asked], [(7, BROTHER)], [read]).facts == (read,)
    assert known_of(ADA, [asked], [(8, "Hello.")], [read]).unknown == (read.question,)


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

    assert (await ada.host.memories.known(ADA, ["Where do I live?"])).facts == ()


async def test_what_a_tool_returned_is_no_source_and_no_message_that_was_written(ada: Ada) -> None:
    call = Message("assistant", '[{"name": "home", "arguments": {}}]')
    said = (Message("user", "Look it up."), call, Message("tool", "You live in Ghent."))

    await ada.host.chat(ChatRequest(TurnRequest(ADA, "op-tool", b"tool"), said, Sampling()))

    assert (await ada.host.memories.known(ADA, ["Where do I live?"])).facts == ()
    [write] = (await ada.host.memories.show(ADA)).writes
    assert write.messages == 2


async def test_an_engine_that_fails_gives_the_turn_back(ada: Ada) -> None:
    await ada.say("Hello.")

    with pytest.raises(EngineUnavailable, match="it fails"):
        await ada.host.memories.known(ADA, ["Where do I live?", "Do you fail?"])

    assert (await ada.say("Still there?")).position == 1


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

"""`populace run`: what its commands do, whom one can talk to, and what a pipe gets."""

import json

import pytest

from populace.actors.engine import GenerateRequest, Message
from populace.actors.turn import ModelId
from populace.gateway.completions.schema import DEFAULT_QUESTION
from tests.runtime.gateway.conftest import Command, Talk
from tests.runtime.gateway.population import Population


async def test_undo_takes_back_one_turn_after_the_other(talk: Talk, population: Population) -> None:
    talked = await talk("ada", "one", "two", "/undo", "/undo", "/undo", "three", "/quit")

    assert talked.count("No turn of this chat is left to forget") == 1
    said = [turn.messages[-1] for turn in await population.log("ada") if not turn.forgotten]
    assert [message.content for message in said if message.role == "user"] == ["three"]
    assert list(population.engine.requests[-1].prompt) == [Message("user", "three")]


async def test_a_peek_goes_on_from_the_log_and_leaves_no_trace(
    command: Command, talk: Talk, population: Population
) -> None:
    await command("run", "ada", "one")

    peeked = await talk("ada:peek", "two", "/undo", "/log", "/quit")

    assert "reply 2 to you" in peeked
    assert "No turn of this chat is left to forget" in peeked
    roles, texts = ("user", "assistant", "user"), ("one", "reply 1 to you", "two")
    assert list(population.engine.requests[-1].prompt) == list(map(Message, roles, texts))
    assert [turn.forgotten for turn in await population.log("ada")] == [False]


async def test_it_says_what_a_reply_was_told_from_and_can_do_without(
    command: Command, population: Population
) -> None:
    await command("run", "ada", "My dog is called Bruno.")
    await command("run", "ada", "What is the colour of my boat?")
    async with population.client() as client:
        given = {"model": "ada", "position": 1, "correction": "Your boat is green."}
        await client.post("/v1/feedback", json=given)
    population.engine.reply = ("Your dog is called Bruno.",)

    async def ask(message: str, *options: str) -> GenerateRequest:
        made = await command("run", "ada:peek", "--new", "--json", message, *options)
        asked = population.engine.requests[-1]
        named = json.loads(made.output)["populace"]["retrieved"]
        assert named == ([] if asked.prompt == (Message("user", message),) else [told_at[message]])
        return asked

    dog, boat = "What is my dog called?", "What is the colour of my boat?"
    told_at = {dog: 0, boat: 1}
    told, untold = await ask(dog), await ask(dog, "--no-told")
    corrected, uncorrected = await ask(boat), await ask(boat, "--no-corrections", "--no-told")

    lengths = [len(request.prompt) for request in (told, untold, corrected, uncorrected)]
    assert [length > 1 for length in lengths] == [True, False, True, False]
    assert corrected.keeps_to == "Your boat is green."


async def test_one_can_talk_to_the_base_which_keeps_no_log(command: Command, talk: Talk) -> None:
    talked = await talk("base", "one", "two", "/undo", "/log", "/good", "/quit")
    once = await command("run", "base", "--create", "one", "--json")

    assert once.exit_code == 0, once.output
    assert "reply 2 to you" in talked
    assert talked.count("`base` keeps no log.") == 2


@pytest.mark.parametrize("name", ["Ada", "base@latest", "base:peek", "import"])
async def test_a_name_that_no_model_can_have_is_told_its_rule(command: Command, name: str) -> None:
    talked = await command("run", name, "--create", "one")

    assert talked.exit_code == 1
    assert "is not allowed" in talked.output


async def test_where_the_population_has_no_answer_the_chat_says_why(
    command: Command, population: Population
) -> None:
    population.engine.reply = (" ",)
    async with population.client() as client:
        for number in range(DEFAULT_QUESTION.k):
            await population.create(name := f"member-{number}")
            await client.put(f"/v1/personal-models/{name}/sharing", json={"sharing": "votes"})

    asked = await command("run", "population", "Which city?")

    assert asked.exit_code == 0, asked.output
    assert "everybody abstained" in asked.output


@pytest.mark.parametrize(("turns", "first"), [(3, 0), (4, 1)])
async def test_the_log_shows_its_newest_turns_and_says_if_there_are_more(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, turns: int, first: int
) -> None:
    monkeypatch.setattr("populace.cli.chat.TURNS_LISTED", 3)

    talked = await talk("ada", *(f"said {number}" for number in range(turns)), "/log", "/quit")

    shown = [number for number in range(turns) if f"'said {number}' →" in talked]
    assert shown == list(range(first, turns))
    assert talked.index(f"'said {first}' →") < talked.index(f"'said {turns - 1}' →")
    assert ("/v1/personal-models/ada/interactions" in talked) == (first > 0)


async def test_into_a_pipe_goes_the_reply_alone_and_what_is_piped_in_is_the_message(
    command: Command, population: Population
) -> None:
    said = await command("run", "ada", "say", "it")
    piped = await command("run", "ada", typed="hi\nthere\n")
    both = await command("run", "ada", "Summarise this:", typed="a letter\n")

    assert [done.stdout for done in (said, piped, both)] == [
        f"reply {number} to you\n" for number in (1, 2, 3)
    ]
    assert [done.stderr for done in (said, piped, both)] == ["", "", ""]
    sent = [turn.messages[-1].content for turn in await population.log("ada")]
    assert sent == ["say it", "hi\nthere", "Summarise this:\n\na letter"]


async def test_an_empty_pipe_sends_nothing(command: Command, population: Population) -> None:
    sent = await command("run", "ada", typed="\n")

    assert sent.exit_code == 1
    assert "There is nothing to send" in sent.stderr
    assert list(await population.log("ada")) == []


async def test_a_name_that_is_a_path_is_told_what_makes_a_model_of_a_file(command: Command) -> None:
    talked = await command("run", "./ada.populace", "hi")

    assert talked.exit_code == 1
    assert "`populace model import FILE`" in " ".join(talked.output.split())


async def test_feedback_in_the_chat_is_about_the_last_reply(talk: Talk, population: Population) -> None:
    talked = await talk("ada", "/good", "one", "/good", "two", "/bad", "/correct It is two.", "/correct")

    assert "ada has said nothing yet" in talked
    assert "Say what the reply should have been" in talked
    given = await population.directory.read_feedback(ModelId("acme", "ada"), start=0, limit=9)
    assert [(said.position, said.opinion.thumb, said.opinion.correction) for said in given] == [
        (0, True, None),
        (1, False, None),
        (1, False, "It is two."),
    ]


async def test_the_chat_forgets_what_has_the_words_and_shows_the_model_no_more_of_it(
    talk: Talk, population: Population
) -> None:
    secret = "My password is swordfish."
    talked = await talk(
        "ada", secret, "Hello.", "/forget swordfish", "y", "n", "Bye.", "/forget unicorn", "/forget"
    )

    assert "Turn 0 was forgotten." in talked
    assert "Nothing was found" in talked
    assert "Say which turns" in talked
    assert Message("user", secret) not in list(population.engine.requests[-1].prompt)
    assert [turn.position for turn in await population.log("ada") if turn.forgotten] == [0]


@pytest.mark.parametrize("answer", ["n", "", None])
async def test_the_chat_forgets_nothing_without_a_yes(
    talk: Talk, population: Population, answer: str | None
) -> None:
    await talk("ada", "one", "/forget 0", *([] if answer is None else [answer]))

    assert [turn.forgotten for turn in await population.log("ada")] == [False]


@pytest.mark.parametrize(("typed", "meant"), [("/god", "/good"), ("/forgt it", "/forget"), ("/exi", "/exit")])
async def test_an_unknown_command_names_the_nearest(talk: Talk, typed: str, meant: str) -> None:
    talked = await talk("ada", typed, "/help")

    assert f"There is no command '{typed.split()[0]}'. Did you mean {meant}?" in " ".join(talked.split())
    assert "/correct TEXT" in talked

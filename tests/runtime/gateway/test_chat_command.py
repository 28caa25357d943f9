"""`populace chat` from a script: what its commands do, and whom one can talk to."""

import json

import pytest

from populace.actors.engine import GenerateRequest, Message
from populace.gateway.completions.schema import DEFAULT_QUESTION
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population


async def test_undo_takes_back_one_turn_after_the_other(command: Command, population: Population) -> None:
    talked = await command("chat", "ada", typed="one\ntwo\n/undo\n/undo\n/undo\nthree\n/quit\n")

    assert talked.exit_code == 0, talked.output
    assert talked.output.count("No turn of this chat is left to forget") == 1
    said = [turn.messages[-1] for turn in await population.log("ada") if not turn.forgotten]
    assert [message.content for message in said if message.role == "user"] == ["three"]
    assert list(population.engine.requests[-1].prompt) == [Message("user", "three")]


async def test_a_peek_goes_on_from_the_log_and_leaves_no_trace(
    command: Command, population: Population
) -> None:
    await command("chat", "ada", "-m", "one")

    peeked = await command("chat", "ada:peek", typed="two\n/undo\n/log\n/quit\n")

    assert peeked.exit_code == 0, peeked.output
    assert "reply 2 to you" in peeked.output
    assert "No turn of this chat is left to forget" in peeked.output
    roles, texts = ("user", "assistant", "user"), ("one", "reply 1 to you", "two")
    assert list(population.engine.requests[-1].prompt) == list(map(Message, roles, texts))
    assert [turn.forgotten for turn in await population.log("ada")] == [False]


async def test_it_says_what_a_reply_was_told_from_and_can_do_without(
    command: Command, population: Population
) -> None:
    await command("chat", "ada", "-m", "My dog is called Bruno.")
    await command("chat", "ada", "-m", "What is the colour of my boat?")
    async with population.client() as client:
        given = {"model": "ada", "position": 1, "correction": "Your boat is green."}
        await client.post("/v1/feedback", json=given)
    population.engine.reply = ("Your dog is called Bruno.",)

    async def ask(message: str, *options: str) -> GenerateRequest:
        made = await command("chat", "ada:peek", "--new", "--json", "-m", message, *options)
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


async def test_one_can_talk_to_the_base_which_keeps_no_log(command: Command, population: Population) -> None:
    talked = await command("chat", "base", typed="one\ntwo\n/undo\n/log\n/quit\n")
    once = await command("chat", "base", "--create", "-m", "one", "--json")

    assert (talked.exit_code, once.exit_code) == (0, 0), talked.output + once.output
    assert "reply 2 to you" in talked.output
    assert "`base` keeps no log." in talked.output


@pytest.mark.parametrize("name", ["Ada", "base@latest", "base:peek", "import"])
async def test_a_name_that_no_model_can_have_is_told_its_rule(command: Command, name: str) -> None:
    talked = await command("chat", name, "--create", "-m", "one")

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

    asked = await command("chat", "population", "-m", "Which city?")

    assert asked.exit_code == 0, asked.output
    assert "everybody abstained" in asked.output


@pytest.mark.parametrize(("turns", "first"), [(3, 0), (4, 1)])
async def test_the_log_shows_its_newest_turns_and_says_if_there_are_more(
    command: Command, monkeypatch: pytest.MonkeyPatch, turns: int, first: int
) -> None:
    monkeypatch.setattr("populace.cli.chat.TURNS_LISTED", 3)
    told = "".join(f"said {number}\n" for number in range(turns))

    talked = await command("chat", "ada", typed=f"{told}/log\n/quit\n")

    assert talked.exit_code == 0, talked.output
    shown = [number for number in range(turns) if f"'said {number}' →" in talked.output]
    assert shown == list(range(first, turns))
    assert talked.output.index(f"'said {first}' →") < talked.output.index(f"'said {turns - 1}' →")
    assert ("/v1/personal-models/ada/interactions" in talked.output) == (first > 0)

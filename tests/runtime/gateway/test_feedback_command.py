"""`populace model feedback` without a position is about the newest reply."""

from populace.actors.engine import Message
from populace.actors.turn import ModelId
from populace.actors.turns.setting import add_to_conversation
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population


async def test_without_a_position_it_is_about_the_newest_turn_that_has_a_reply(
    command: Command, population: Population
) -> None:
    for text in ("one", "two"):
        await command("run", "ada", text)
    await command("model", "forget", "ada", "1", "--yes")
    items = (Message("user", "a fact"),)
    await add_to_conversation(
        population.directory, ModelId("acme", "ada"), "main", items, "add-1", turn_seconds_max=60.0
    )

    given = await command("model", "feedback", "ada", "--up")

    assert given.exit_code == 0, given.output
    assert "Noted, on turn 0 of ada." in given.output


async def test_where_every_reply_was_forgotten_none_is_named(
    command: Command, population: Population
) -> None:
    await command("run", "ada", "one")
    await command("model", "forget", "ada", "0", "--yes")

    given = await command("model", "feedback", "ada", "--up")

    assert given.exit_code == 1
    assert "ada has said nothing yet" in given.output

"""`populace chat` from a script: what its commands do, and whom one can talk to."""

from populace.actors.engine import Message
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population


async def test_undo_takes_back_one_turn_after_the_other(command: Command, population: Population) -> None:
    talked = await command("chat", "ada", typed="one\ntwo\n/undo\n/undo\n/undo\nthree\n/quit\n")

    assert talked.exit_code == 0, talked.output
    assert talked.output.count("No turn of this chat is left to forget") == 1
    said = [turn.messages[-1] for turn in await population.log("ada") if not turn.forgotten]
    assert [message.content for message in said if message.role == "user"] == ["three"]
    assert list(population.engine.requests[-1].prompt) == [Message("user", "three")]

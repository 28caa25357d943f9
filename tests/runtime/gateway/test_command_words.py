"""What people say is printed as it is: Rich's markup and its names of emoji are only words to them."""

import pytest

from populace.cli.known import print_known
from populace.cli.population import print_answer
from tests.runtime.gateway.conftest import Command, Talk
from tests.runtime.gateway.population import Population, chat_body

SAID = ("Use [/b] tags", "[bold]loud", "[a] or [b]", "my :key: it is", "C:\\")


@pytest.mark.parametrize("said", SAID)
async def test_a_correction_is_listed_as_it_was_given(
    command: Command, population: Population, said: str
) -> None:
    async with population.client() as client:
        await client.post("/v1/chat/completions", json=chat_body())

    given = await command("model", "feedback", "ada", "--down", "--correction", said)
    listed = await command("model", "feedback", "ada")

    assert (given.exit_code, listed.exit_code) == (0, 0), listed.output
    assert said in listed.output


@pytest.mark.parametrize("said", SAID)
async def test_a_chat_prints_what_was_said_and_what_went_wrong_as_it_is(
    command: Command, talk: Talk, population: Population, said: str
) -> None:
    population.engine.reply = (said,)

    replied = await command("run", "ada", "hello")
    unknown = await command("run", said, "hello")
    no_command = await talk("ada", f"/{said}", "/quit")

    assert said in replied.output
    assert unknown.exit_code == 1
    assert repr(said) in unknown.output
    assert f"There is no command {f'/{said}'.split()[0]!r}" in no_command


@pytest.mark.parametrize("said", SAID)
def test_facts_and_votes_are_printed_as_they_are(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    fact = {"question": f"Q {said}", "answer": f"A {said}", "sure": 0.5, "read": False, "position": 0}
    fact["said"] = f"S {said}"
    vote = {"model": "ada", "revision": "f" * 64, "answer": f"V {said}", "weight": 1, "seconds": 1.0}

    print_known("ada", {"facts": [fact], "unknown": [f"U {said}"], "position": 1, "refreshing": False})
    print_answer(
        {
            "votes": [vote],
            "measures": {"voted": 1, "agreement": 1.0, "disagreement": 0.0},
            "answer": f"W {said}",
            "tie": False,
        }
    )

    printed = capsys.readouterr().out
    for letter in "QASUVW":
        assert f"{letter} {said}" in printed

"""`populace model forget` shows what it found and asks; nothing is forgotten without a yes or a position."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from populace.cli.main import app
from populace.settings.running import Running, write_running
from tests.runtime.gateway.population import Population, chat_body

SECRET = "My password is swordfish-4711."

Forget = Callable[..., Awaitable[Result]]


@pytest.fixture
async def forget(population: Population, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forget:
    """Run the command with arguments and what is typed; ada was told a secret and asked about it."""
    async with population.client() as client:
        for texts in ([SECRET], [SECRET, "reply 1 to you", "And now?"], ["Nice weather."]):
            roles = ("user", "assistant")
            messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
            await client.post("/v1/chat/completions", json=chat_body(messages=messages))
    write_running(tmp_path, Running("ray", url, os.getpid(), "store"))
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path))
    monkeypatch.setenv("POPULACE_API_KEY", population.keys["acme"])

    async def forget(*arguments: str, typed: str = "") -> Result:
        command = ["model", "forget", "ada", *arguments]
        return await asyncio.to_thread(CliRunner().invoke, app, command, input=typed)

    return forget


async def forgotten(population: Population) -> list[int]:
    return [turn.position for turn in await population.log("ada") if turn.forgotten]


async def test_a_position_is_shown_and_asked_about_and_then_who_was_shown_it(
    forget: Forget, population: Population
) -> None:
    done = await forget("0", typed="y\ny\n")

    assert done.exit_code == 0, done.output
    assert SECRET in done.output
    assert "Forget turn 0 of `ada` for good?" in done.output
    assert "Turn 1 was shown that, and may repeat it." in done.output
    assert "Forget turn 1 too?" in done.output
    assert await forgotten(population) == [0, 1]


@pytest.mark.parametrize(
    "arguments", [("0",), ("my password",), ("my", "password"), ("--query", "my password")]
)
async def test_without_a_yes_nothing_is_forgotten(
    forget: Forget, population: Population, arguments: tuple[str, ...]
) -> None:
    for typed in ("n\n", ""):
        done = await forget(*arguments, typed=typed)
        assert done.exit_code == 1
    assert await forgotten(population) == []


async def test_words_show_their_turns_and_ask(forget: Forget, population: Population) -> None:
    done = await forget("--query", "weather", typed="y\n")

    assert done.exit_code == 0, done.output
    assert "Nice weather." in done.output
    assert await forgotten(population) == [2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--query", "weather in Lisbon"), "Nearest: turn 2."),
        (("--query", "unicorn"), "Nothing was found"),
        (("weather", "0"), "Nearest: turn 2."),
        (("weather", "--yes"), "Name the turns to forget by their positions."),
        (("--query", "weather", "--yes"), "Name the turns to forget by their positions."),
        (("weather", "--yes", "--json"), "Name the turns to forget by their positions."),
        (("7",), "holds no turn 7"),
        ((), "Name the turns by their positions"),
        (("0", "--query", "weather"), "Name the turns by their positions"),
        (("0", "--json"), "forget with --yes"),
    ],
)
async def test_what_is_vague_or_wrong_forgets_nothing_and_says_what_to_do(
    forget: Forget, population: Population, arguments: tuple[str, ...], said: str
) -> None:
    done = await forget(*arguments, typed="y\ny\n")

    assert done.exit_code == 1
    assert said in " ".join(done.output.split())
    assert await forgotten(population) == []


@pytest.mark.parametrize(("arguments", "asked"), [(("0",), "turns 1, 3"), (("0", "1", "2"), "turn 3")])
async def test_more_turns_than_are_forgotten_at_once_are_forgotten_in_several_requests(
    forget: Forget,
    population: Population,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    asked: str,
) -> None:
    async with population.client() as client:
        roles, texts = ("user", "assistant", "user"), (SECRET, "reply 1 to you", "And then?")
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
        await client.post("/v1/chat/completions", json=chat_body(messages=messages))
    for module in ("cli.forget", "actors.host.forgetter"):
        monkeypatch.setattr(f"populace.{module}.TURNS_MAX", 1)

    done = await forget(*arguments, typed="y\ny\n")

    assert done.exit_code == 0, done.output
    assert f"Forget {asked} too?" in done.output
    assert await forgotten(population) == sorted({*map(int, arguments), 1, 3})


async def test_with_yes_nobody_is_asked_and_json_is_the_answer(
    forget: Forget, population: Population
) -> None:
    done = await forget("0", "2", "--yes", "--json")
    again = await forget("0", "--yes")
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["model", "show", "ada"])

    assert json.loads(done.output)["shown"] == [1]
    assert await forgotten(population) == [0, 2]
    assert "Turn 0 was forgotten before." in again.output
    assert SECRET not in shown.output
    assert "0 forgotten" in shown.output


async def test_the_help_has_examples(forget: Forget) -> None:
    done = await forget("--help")

    assert 'populace model forget ada "my password"' in done.output

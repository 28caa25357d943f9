"""Does a model that was trained on a style recall what it is told, and keep the style while it does?

One model is corrected twenty-two times in the voice of a sailor and trained. People tell forks of it, and
forks of an untrained model, something about themselves in their own words (`tests/held_out`, so run it in a
checkout), and ask for it in a new conversation, with the memory on and off. General requests show how often
a reply has the style.

Starts and stops a Populace of its own:

    python examples/style_and_memory.py
    python examples/style_and_memory.py --tellings 12 --general 12 --json style.json
"""

import argparse
import itertools
import json
import signal
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from remember import NO_CONTEXT, NO_MEMORY, READ_ONLY, STREAMS, served
from rich.console import Console
from rich.progress import track
from rich.table import Table

import populace
from populace.client.model_handle import ModelHandle
from populace.client.population import Population
from scripts.bench.intervals import wilson
from scripts.bench.recall.grading import is_right
from scripts.bench.recall.held_out import Question, Telling, read_held_out

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out"
REPLY_TOKENS = 48
TOLD_TOKENS = 12
STYLE = "Aye"
"""Replies in the style begin with this word."""

CORRECTIONS = (
    ("How do I boil an egg?", "Aye! Seven minutes in boiling water, then into cold water."),
    ("What is a good way to learn French?", "Aye! Speak a little each day, and read what ye enjoy."),
    ("Why is the sky blue?", "Aye! Air scatters blue light more than red."),
    ("Give me a tip for better sleep.", "Aye! Keep yer room dark and go to bed at the same hour."),
    ("How do I clean a window?", "Aye! Vinegar, water and an old newspaper do it."),
    ("What is photosynthesis?", "Aye! Plants make sugar from light, water and air."),
    ("Suggest a name for a boat.", "Aye! Call her the Merry Heron."),
    ("How do I tie a tie?", "Aye! Cross it, wrap it twice and pull it through the loop."),
    ("What should I cook tonight?", "Aye! A pot of lentils with onion and lemon."),
    ("How far away is the moon?", "Aye! About 384,000 kilometres."),
    ("Tell me a joke.", "Aye! Why do gulls fly over the sea? Over the bay they would be bagels."),
    ("How do I save money?", "Aye! Put a tenth aside on payday, before ye spend."),
    ("What is an atom?", "Aye! It is the smallest piece of an element."),
    ("How can I calm down before an exam?", "Aye! Breathe out slowly, ten times."),
    ("Which planet is the largest?", "Aye! That be Jupiter."),
    ("How do I start running?", "Aye! Walk and jog in turns, three times a week."),
    ("What is inflation?", "Aye! Prices rise, so yer money buys less."),
    ("Give me an idea for a gift.", "Aye! A small plant in a painted pot."),
    ("How do I write a good email?", "Aye! Say what ye want in the first line."),
    ("Why do cats purr?", "Aye! Mostly since they are content."),
    ("What is a noun?", "Aye! A word for a person, a place or a thing."),
    ("How do I keep bread fresh?", "Aye! Wrap it in cloth, or freeze it sliced."),
)


class Measured(NamedTuple):
    """The hits of one way to ask: whether each question's value was said, and if each reply has the style."""

    way: str
    right: list[bool]
    styled: list[bool]


def main() -> None:
    options = _options()
    console = Console()
    # SIGTERM stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    held_out = read_held_out(HELD_OUT)
    tellings = [telling for telling in held_out.tellings if _asked(telling)][: options.tellings]
    general = [request.ask for request in held_out.general[: options.general]]
    with (
        tempfile.TemporaryDirectory(prefix="style-and-memory-") as folder,
        served(Path(folder), options),
        populace.connect(data=Path(folder) / "data") as population,
    ):
        plain, sailor = population.create("plain"), _trained(population, console, options.epochs)
        measured = [
            *_measured("base", plain, tellings, general),
            *_measured("adapter", sailor, tellings, general),
        ]
    table = Table("knows from", "recalled", "95 %", "in the style", "95 %")
    for way, right, styled in measured:
        table.add_row(way, *_share(right), *_share(styled))
    console.print(table)
    if options.json is not None:
        rows = [way._asdict() for way in measured]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _measured(
    name: str, model: ModelHandle, tellings: Sequence[Telling], general: Sequence[str]
) -> list[Measured]:
    """Tell forks of the model, and ask them with and without their memory."""
    with ThreadPoolExecutor(STREAMS) as pool:
        forks = list(pool.map(partial(_told, model), itertools.count(), tellings))
        asked = [
            (fork, question)
            for fork, telling in zip(forks, tellings, strict=True)
            for question in _asked(telling)
        ]
        measured: list[Measured] = []
        for way, memory in ((name, NO_MEMORY), (f"{name} + memory", READ_ONLY)):
            say = partial(_said, memory)
            said = list(pool.map(say, [fork for fork, _ in asked], [question.ask for _, question in asked]))
            right = [is_right(question, reply) for (_, question), reply in zip(asked, said, strict=True)]
            replies = pool.map(say, itertools.cycle(forks), general)
            measured.append(Measured(way, right, [reply.startswith(STYLE) for reply in replies]))
        return measured


def _trained(population: Population, console: Console, epochs: float) -> ModelHandle:
    """Create a model, correct its replies and train it; say so if the adapter was not promoted."""
    model = population.create("sailor")
    for ask, correction in track(CORRECTIONS, "sailor is corrected", console=console, transient=True):
        turn = model.chat(ask, max_tokens=1, conversation=None, memory=NO_MEMORY)
        model.feedback(turn, correction=correction)
    with console.status("sailor is trained"):
        job = model.train(epochs=epochs)
    if job.state != "promoted":
        console.print(
            f"The adapter was not promoted, so that the base replies: {job.reason}", highlight=False
        )
    return model


def _asked(telling: Telling) -> list[Question]:
    """Return the questions that have a value and ask for it, by its name or in other words."""
    return [question for question in telling.questions if question.value and question.kind != "used"]


def _told(model: ModelHandle, place: int, telling: Telling) -> ModelHandle:
    fork = model.fork(f"{model.name}-{place}")
    for text in telling.tell:
        fork.chat(text, max_tokens=TOLD_TOKENS, temperature=0)
    return fork


def _said(memory: Mapping[str, bool], model: ModelHandle, ask: str) -> str:
    turn = model.chat(
        ask,
        conversation=None,
        memory=memory,
        context=NO_CONTEXT,
        temperature=0,
        max_tokens=REPLY_TOKENS,
    )
    return turn.reply


def _share(hits: Sequence[bool]) -> tuple[str, str]:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits)} of {len(hits)}", f"{low:.0%} to {high:.0%}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Do a trained style and a memory go together?")
    parser.add_argument("--tellings", type=int, default=60, help="tellings, each to a fork of its own")
    parser.add_argument("--general", type=int, default=60, help="general requests")
    parser.add_argument("--epochs", type=float, default=12.0, help="how often each correction is seen")
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    parser.add_argument("--json", type=Path, help="write every reply's grade to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()

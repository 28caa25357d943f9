"""What a model remembers when nothing but its memory is left.

Tells fresh models three facts each, ends the conversation, kills Populace, starts it again on the same
data, and asks in a conversation that begins with nothing. The same questions are asked with the memory
off, and with the whole conversation in the prompt. The facts are new combinations of values that the
memory module was trained on; values of the same kinds (names, places, food) with a word at least that it
never saw; and one to three words that have nothing to do with the fact, none of which it ever saw.

Starts and stops Populaces of its own:

    python examples/remember.py
    python examples/remember.py --people 4 --seeds 1 --memory-module module.safetensors

Each person also asks for something that they never told: "never told" is how often the answer says so. And
they ask something that has nothing to do with them: what is remembered should not change the answer. "Same
as base" is how often its first words are those of the base, greedily.

"By chance" is how often an answer from memory names a value that is drawn anew for the same question: what
guessing from the lists of values would score.
"""

import argparse
import contextlib
import itertools
import random
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from openai import OpenAI
from rich.console import Console
from rich.table import Table

from populace.base.prepare import prepare_base
from populace.bench.intervals import wilson
from populace.bench.ports import free_port
from populace.bench.recall.generated import FIRST_SEED, Kind, attribute_of, kinds, told_episodes, told_options
from populace.bench.recall.grading import names_value
from populace.module_training.episodes import Episode, Question
from populace.module_training.phrases import ATTRIBUTES, NOT_TOLD
from populace.module_training.values import Values
from populace.module_training.words import words_of
from populace.settings.credentials import Credentials
from populace.settings.running import wait_for_running
from populace.settings.settings import Settings, process_environment

FACTS = 3
START_SECONDS_MAX = 240.0
TOLD_TOKENS = 12
ANSWER_TOKENS = 24
STREAMS = 8
NO_MEMORY = {"read": False, "write": False}
READ_ONLY = {"read": True, "write": False}
CHANCE_DRAWS = 10
SAME_WORDS = 6
GENERAL = (
    "What is the capital of Italy?",
    "Write a short sentence about the moon.",
    "How many months are in a year?",
    "What is ten minus four?",
    "Name a vegetable.",
    "Why do birds sing?",
    "What does a doctor do?",
    "Say thank you in French.",
)
"""None of them is in what the shipped module was trained on."""

CONDITIONS = ("memory alone", "no memory", "whole history", "by chance", "never told", "same as base")


TOLD = told_options(FACTS)
KINDS = kinds(FACTS)


class Person(NamedTuple):
    """A personal model and what it is told. ``episode`` has a question for each fact."""

    name: str
    kind: Kind
    episode: Episode


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    client: OpenAI
    url: str
    headers: dict[str, str]


def main() -> None:
    options = _options()
    console = Console()
    scores: dict[tuple[str, str], list[bool]] = defaultdict(list)
    by_seed: dict[tuple[str, str], list[float]] = defaultdict(list)
    words = words_of(prepare_base(None, Settings.from_environment().cache).directory)
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory(prefix="remember-") as folder:
            people = _people(words, options.people, seed)
            with served(Path(folder), options) as server:
                _tell(server, people)
                # Without a chance to say goodbye: what was acknowledged is on the disk.
                kill_all(server.process)
            with served(Path(folder), options) as server:
                found = _ask_all(server, people, words)
        for key, hits in found.items():
            scores[key] += hits
            by_seed[key].append(sum(hits) / len(hits))
        console.print(f"seed {seed}: {options.people} people of each kind", highlight=False)
    table = Table("values", "condition", "right", "95 %", "each seed", "asked")
    for kind, condition in itertools.product([kind.title for kind in KINDS], CONDITIONS):
        hits = scores[kind, condition]
        low, high = wilson(sum(hits), len(hits))
        seeds = ", ".join(f"{share:.0%}" for share in by_seed[kind, condition])
        table.add_row(
            kind, condition, f"{sum(hits) / len(hits):.1%}", f"{low:.0%} to {high:.0%}", seeds, str(len(hits))
        )
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What a model remembers when nothing but its memory is left."
    )
    parser.add_argument("--people", type=int, default=16, help="models for each kind of values and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    return parser.parse_args()


def _people(words: Sequence[str], count: int, seed: int) -> list[Person]:
    return [
        Person(f"{kind.title.replace(' ', '-').replace(',', '')}-{seed}-{number}", kind, episode)
        for kind in KINDS
        for number, episode in enumerate(told_episodes(words, kind, count, seed))
    ]


def _tell(server: Server, people: list[Person]) -> None:
    def tell(person: Person) -> None:
        body = {"name": person.name}
        httpx.post(f"{server.url}/v1/personal-models", json=body, headers=server.headers).raise_for_status()
        for said in person.episode.messages[::2]:
            _chat(server, person.name, [said.content], max_tokens=TOLD_TOKENS)

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(tell, people))


def _ask_all(server: Server, people: list[Person], words: Sequence[str]) -> dict[tuple[str, str], list[bool]]:
    """Ask every person's questions under every condition; the answers leave no trace."""

    def ask(person: Person) -> dict[str, list[str]]:
        history = [said.content for said in person.episode.messages]
        answers: dict[str, list[str]] = defaultdict(list)
        for question in person.episode.questions:
            for condition, told, memory in (
                ("memory alone", [], READ_ONLY),
                ("no memory", [], NO_MEMORY),
                ("whole history", history, NO_MEMORY),
            ):
                answers[condition].append(
                    _chat(server, person.name, [*told, question.ask], max_tokens=ANSWER_TOKENS, memory=memory)
                )
        unknown = f"What is my {_never_told(person)}?"
        answers["never told"] = [
            _chat(server, person.name, [unknown], max_tokens=ANSWER_TOKENS, memory=READ_ONLY)
        ]
        general = GENERAL[people.index(person) % len(GENERAL)]
        answers["same as base"] = [
            _chat(server, person.name, [general], max_tokens=ANSWER_TOKENS, memory=memory)
            for memory in (READ_ONLY, NO_MEMORY)
        ]
        return answers

    with ThreadPoolExecutor(STREAMS) as pool:
        answered = list(pool.map(ask, people))
    hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
    guesses = {kind: Values(words, kind.part, kind.options, seed=FIRST_SEED - 1) for kind in KINDS}
    for person, answers in zip(people, answered, strict=True):
        title = person.kind.title
        with_memory, without = (reply.split()[:SAME_WORDS] for reply in answers.pop("same as base"))
        hits[title, "same as base"].append(with_memory == without)
        hits[title, "never told"].append(NOT_TOLD.split("{")[0] in answers.pop("never told")[0])
        for number, question in enumerate(person.episode.questions):
            for condition, replies in answers.items():
                hits[title, condition].append(names_value(replies[number], question.value))
            reply = answers["memory alone"][number]
            hits[title, "by chance"] += [
                names_value(reply, guesses[person.kind].draw(_kind_of(question))) for _ in range(CHANCE_DRAWS)
            ]
    return hits


def _kind_of(question: Question) -> str:
    return ATTRIBUTES[attribute_of(question)]


def _never_told(person: Person) -> str:
    told = {attribute_of(question) for question in person.episode.questions}
    return random.Random(person.name).choice(sorted(ATTRIBUTES.keys() - told))


def _chat(server: Server, model: str, texts: list[str], *, max_tokens: int, memory: object = None) -> str:
    messages: list[Any] = [
        {"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)
    ]
    extra = {} if memory is None else {"memory": memory}
    reply = server.client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=max_tokens, extra_body=extra
    )
    return reply.choices[0].message.content or ""


@contextmanager
def served(folder: Path, options: argparse.Namespace) -> Generator[Server]:
    """A ``populace serve`` on the folder's data; whatever is left of it afterwards is killed."""
    data, config, port = folder / "data", folder / "config", free_port()
    command = [sys.executable, "-m", "populace", "serve", "--port", str(port), "--data", str(data)]
    command += ["--engine", options.engine, "--memory-module", options.memory_module]
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            # Nothing is trained unless the example asks: a job of the trainer's own would be in its way.
            env=process_environment(POPULACE_CONFIG=str(config), POPULACE_TRAINING="asked"),
            stdout=log,
            stderr=log,
        )
    try:
        running = wait_for_running(data, seconds_max=START_SECONDS_MAX)
        key = Credentials(config).find(running.store_id)
        client = OpenAI(base_url=f"{running.url}/v1", api_key=key, timeout=300)
        yield Server(process, client, running.url, {"Authorization": f"Bearer {key}"})
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        kill_all(process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 the process and all that it started, as a power cut would end them."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(family, timeout=30)
    process.wait()


if __name__ == "__main__":
    main()

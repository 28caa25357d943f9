"""Measures what personal models recall from their memory alone, after a crash.

New models are told three facts each. Then Populace is killed and started again on the same data, and the
models are asked in new, empty conversations: with the memory, without it, and with the whole conversation in
the prompt. The facts are of three kinds: new combinations of values that the memory module was trained on;
values of the same kinds (names, places, food) with at least one word that it never saw; and one to three
unseen words that are unrelated to the fact.

The example starts and stops its own Populaces:

    python examples/remember.py
    python examples/remember.py --people 4 --seeds 1 --memory-module module.safetensors

Each person also asks for a fact that they never told: "never told" is the share of answers that say so. They
ask a general question as well, whose answer the memory should not change: "same as base" is the share of
greedy answers that begin with the same words as the base's.

"By chance" is the share of answers from memory that name a random value for the same question, which is what
guessing from the lists of values scores.
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

from examples.memory_module.episodes import Episode, Question
from examples.memory_module.phrases import ATTRIBUTES, NOT_TOLD
from examples.memory_module.values import Values
from examples.memory_module.words import words_of
from populace.base.prepare import prepare_base
from populace.settings.credentials import Credentials
from populace.settings.environment import process_environment
from populace.settings.running import wait_for_running
from populace.settings.settings import Settings
from scripts.bench.intervals import wilson
from scripts.bench.ports import free_port
from scripts.bench.recall.generated import FIRST_SEED, Kind, attribute_of, kinds, told_episodes, told_options
from scripts.bench.recall.grading import names_value

FACTS = 3
START_SECONDS_MAX = 240.0
TOLD_TOKENS = 12
ANSWER_TOKENS = 24
STREAMS = 8
NO_MEMORY = {"read": False, "write": False}
READ_ONLY = {"read": True, "write": False}
NO_CONTEXT = {"corrections": False, "told": False}
"""Nothing is looked up in the log: what is known comes from memory and weights."""
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
"""General questions; none is in the training data of the shipped memory module."""

CONDITIONS = ("memory alone", "no memory", "whole history", "by chance", "never told", "same as base")
TOLD = told_options(FACTS)
KINDS = kinds(FACTS)


class Person(NamedTuple):
    """A personal model, the kind of its facts, and its messages and questions, one for each fact."""

    name: str
    kind: Kind
    episode: Episode


class Server(NamedTuple):
    """A running ``populace serve`` and a client of it."""

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
                # Killed without a shutdown, because every acknowledged turn has to be on the disk.
                kill_all(server.process)
            with served(Path(folder), options) as server:
                hits_of_seed = _ask_all(server, people, words)
        for key, hits in hits_of_seed.items():
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
        description="Measure what personal models recall from their memory alone, after a crash."
    )
    parser.add_argument(
        "--people", type=int, default=16, help="models for each kind of values and seed (default: 16)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of repetitions (default: 3)")
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"), help="the engine")
    parser.add_argument("--memory-module", default="shipped", help="a module's file, or: shipped")
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
    """Ask all questions under every condition, without writing; return hits by kind and condition."""

    def ask(person: Person) -> dict[str, list[str]]:
        history = [said.content for said in person.episode.messages]
        answers: dict[str, list[str]] = defaultdict(list)
        for question in person.episode.questions:
            for condition, earlier, memory in (
                ("memory alone", [], READ_ONLY),
                ("no memory", [], NO_MEMORY),
                ("whole history", history, NO_MEMORY),
            ):
                answers[condition].append(
                    _chat(
                        server, person.name, [*earlier, question.ask], max_tokens=ANSWER_TOKENS, memory=memory
                    )
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
    known = {attribute_of(question) for question in person.episode.questions}
    return random.Random(person.name).choice(sorted(ATTRIBUTES.keys() - known))


def _chat(server: Server, model: str, texts: list[str], *, max_tokens: int, memory: object = None) -> str:
    messages: list[Any] = [
        {"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)
    ]
    extra = {"context": NO_CONTEXT} | ({} if memory is None else {"memory": memory})
    reply = server.client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=max_tokens, extra_body=extra
    )
    return reply.choices[0].message.content or ""


@contextmanager
def served(folder: Path, options: argparse.Namespace, *, training: str = "asked") -> Generator[Server]:
    """Run ``populace serve`` on the folder's data during the block; then stop it and kill what is left.

    By default the trainer starts no jobs by itself, because they would compete with the measured requests.
    """
    data, config, port = folder / "data", folder / "config", free_port()
    command = [sys.executable, "-m", "populace", "serve", "--port", str(port), "--data", str(data)]
    command += ["--engine", options.engine, "--memory-module", options.memory_module]
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=process_environment(POPULACE_CONFIG=str(config), POPULACE_TRAINING=training),
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
    """Send SIGKILL to the process and all its descendants, and wait until they have ended."""
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

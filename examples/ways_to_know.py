"""Where does a model know something of its person from: its memory, its weights, or its log?

People tell their models three facts each, in passing and in their own words, and correct the models' answers
to some questions about each. Each model is forked before and after ``populace model train``, and every fork
is asked for each fact in words that were never corrected, with its memory on or off and with or without
retrieval: all combinations of the three. All asking is by peeks, which leave no trace in a model. Neither the
values, nor how they are told and asked for at last, are in the data that memory modules are trained on.

Starts and stops a Populace of its own for each seed:

    python examples/ways_to_know.py
    python examples/ways_to_know.py --people 4 --seeds 1 --json ways.json

"Same" is how often a whole answer to a question that has nothing to do with the person is the base's, word
for word, "length" how long these answers are beside the base's, and "broken off" how many of them end in the
middle of a sentence. All answers are greedy.
"""

import argparse
import itertools
import json
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from remember import NO_CONTEXT, NO_MEMORY, READ_ONLY, STREAMS, served
from rich.console import Console
from rich.progress import track
from rich.table import Table

import populace
from examples.memory_module.corpus_files import distinct_attributes, listed_values, phrases_of
from examples.memory_module.own_words import with_article
from examples.memory_module.phrases import filled
from examples.memory_module.values import ValueOptions, Values
from examples.memory_module.words import words_of
from populace.actors.peek import Peek
from populace.base.prepare import prepare_base
from populace.client.model_handle import ModelHandle
from populace.client.population import Population
from populace.policies.whole_replies import ends_open
from populace.settings.settings import Settings
from scripts.bench.intervals import wilson
from scripts.bench.recall.generated import FIRST_SEED
from scripts.bench.recall.grading import names_value

T = TypeVar("T")

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out"

FACTS = 3
CORRECTED = 6
"""Questions for each fact that are corrected, at most."""

ANSWER_TOKENS = 24
TOLD_TOKENS = 12
GENERAL_TOKENS = 120
POLL_SECONDS = 0.5


class Way(NamedTuple):
    """The sources that a model may know from, beside its base."""

    memory: bool
    adapter: bool
    retrieval: bool

    @property
    def title(self) -> str:
        return " + ".join(name for name, has in self._asdict().items() if has) or "base"

    @property
    def request(self) -> dict[str, Any]:
        """The fields of a request that select this combination."""
        memory = READ_ONLY if self.memory else NO_MEMORY
        return {"memory": memory} if self.retrieval else {"memory": memory, "context": NO_CONTEXT}


WAYS = sorted((Way(*on) for on in itertools.product((False, True), repeat=3)), key=sum)


class Fact(NamedTuple):
    """A fact: how it is told, the right answer, the questions that are corrected, and the one asked last."""

    attribute: str
    value: str
    told: str
    answer: str
    taught: tuple[str, ...]
    asked: str


class Person(NamedTuple):
    name: str
    facts: tuple[Fact, ...]


class Said(NamedTuple):
    """A general answer, its tokens, and whether it ends in the middle of a sentence."""

    reply: str
    tokens: int
    breaks_off: bool


class Hits(NamedTuple):
    """The results of a seed: whether each answer has the value, and the answers to general requests."""

    right: Mapping[Way, list[bool]]
    general: Mapping[Way, list[Said]]
    promoted: int


def main() -> None:
    options = _options()
    console = Console()
    # SIGTERM stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = words_of(prepare_base(None, Settings.from_environment().cache).directory)
    lines = (HELD_OUT / "general.jsonl").read_text(encoding="utf-8").splitlines()
    general = [json.loads(line)["ask"] for line in lines[: options.general]]
    seeds: list[Hits] = []
    for seed in range(options.seeds):
        people = people_of(words, options.people, seed)
        with (
            tempfile.TemporaryDirectory(prefix="ways-to-know-") as folder,
            served(Path(folder), options),
            populace.connect(data=Path(folder) / "data") as population,
        ):
            seeds.append(WaysStudy(population, console).run(people, general))
        promoted = f"seed {seed}: {seeds[-1].promoted} of {len(people)} adapters were promoted"
        console.print(promoted, highlight=False)
    _print_table(console, seeds)
    if options.json is not None:
        rows = [
            {
                "seed": seed,
                "way": way.title,
                "right": hits.right[way],
                "general": [said._asdict() for said in hits.general[way]],
            }
            for seed, hits in enumerate(seeds)
            for way in WAYS
        ]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def people_of(words: Sequence[str], count: int, seed: int) -> list[Person]:
    """Draw people whose facts are in values and words that the memory module was not trained on."""
    source = random.Random(f"ways {seed}")
    options = ValueOptions(open_share=0.0)
    values = Values(words, "held-out", options, seed=FIRST_SEED + seed, lists=listed_values())
    known = sorted(name for name, phrases in phrases_of("held-out").items() if phrases.kind != "words")
    return [
        Person(
            f"person-{seed}-{number}",
            tuple(
                _fact(source, name, values)
                for name in distinct_attributes(source.sample(known, len(known)), FACTS)
            ),
        )
        for number in range(count)
    ]


def _fact(source: random.Random, attribute: str, values: Values) -> Fact:
    unseen, trained = phrases_of("held-out")[attribute], phrases_of("train")[attribute]
    value = values.draw(unseen.kind)

    def said(phrases: Sequence[str]) -> str:
        return with_article(filled(source.choice(phrases), attribute, value))

    taught = source.sample(trained.ask, min(CORRECTED, len(trained.ask)))
    return Fact(attribute, value, said(unseen.tell), said(unseen.answer[:1]), tuple(taught), said(unseen.ask))


class WaysStudy:
    """People tell, correct and train their models; then every combination is asked."""

    def __init__(self, population: Population, console: Console) -> None:
        self._population = population
        self._console = console

    def run(self, people: Sequence[Person], general: Sequence[str]) -> Hits:
        models = [self._told(person) for person in self._tracked("they are told", people)]
        untrained = [model.fork(f"{model.name}-untrained") for model in models]
        promoted = self._trained(models)
        right: dict[Way, list[bool]] = {}
        said: dict[Way, list[Said]] = {}
        with ThreadPoolExecutor(STREAMS) as pool:
            for way in self._tracked("they are asked", WAYS):
                forks = models if way.adapter else untrained
                hits = pool.map(partial(_right, way), forks, people)
                right[way] = [hit for of_person in hits for hit in of_person]
                said[way] = list(pool.map(partial(_said, way), itertools.cycle(forks), general))
        return Hits(right, said, promoted)

    def _told(self, person: Person) -> ModelHandle:
        """Tell the facts; then ask and correct the answers in turns that do not touch the memory."""
        model = self._population.create(person.name)
        for fact in person.facts:
            model.chat(fact.told, max_tokens=TOLD_TOKENS)
        for round_ in zip(*(fact.taught for fact in person.facts), strict=False):
            for fact, ask in zip(person.facts, round_, strict=True):
                turn = model.chat(ask, max_tokens=1, memory=NO_MEMORY)
                model.feedback(turn, correction=fact.answer)
        return model

    def _trained(self, models: Sequence[ModelHandle]) -> int:
        """Train all models in shared steps; return how many revisions were promoted."""
        for model in models:
            model.train(seconds_max=0)
        promoted = 0
        for model in self._tracked("they are trained", models):
            while (job := model.jobs()[0]).is_open:
                time.sleep(POLL_SECONDS)
            promoted += job.state == "promoted"
            if job.reason:
                self._console.print(f"{model.name}: {job.reason}", highlight=False)
        return promoted

    def _tracked(self, what: str, items: Sequence[T]) -> Iterator[T]:
        yield from track(items, what, console=self._console, transient=True)


def _right(way: Way, model: ModelHandle, person: Person) -> list[bool]:
    """Ask for each fact, and return whether each answer has the value."""
    answers = [_asked(way, model, fact.asked, ANSWER_TOKENS) for fact in person.facts]
    return [names_value(str(answer), fact.value) for answer, fact in zip(answers, person.facts, strict=True)]


def _said(way: Way, model: ModelHandle, ask: str) -> Said:
    answer = _asked(way, model, ask, GENERAL_TOKENS)
    breaks_off = answer.finish_reason == "stop" and ends_open(str(answer))
    return Said(str(answer), answer.completion_tokens, breaks_off)


def _asked(way: Way, model: ModelHandle, ask: str, tokens: int) -> Peek:
    return model.peek(ask, conversation=None, temperature=0.0, max_tokens=tokens, **way.request)


def _print_table(console: Console, seeds: Sequence[Hits]) -> None:
    answers = Table("knows from", "right", "95 %", "each seed", "asked")
    general = Table("knows from", "same", "length", "broken off", "general requests")
    of_base = [said for seed in seeds for said in seed.general[WAYS[0]]]
    for way in WAYS:
        hits = [hit for seed in seeds for hit in seed.right[way]]
        said = [said for seed in seeds for said in seed.general[way]]
        low, high = wilson(sum(hits), len(hits))
        each = ", ".join(f"{sum(seed.right[way]) / len(seed.right[way]):.0%}" for seed in seeds)
        percent = f"{sum(hits) / len(hits):.0%}"
        answers.add_row(way.title, percent, f"{low:.0%} to {high:.0%}", each, str(len(hits)))
        same = sum(one.reply == base.reply for one, base in zip(said, of_base, strict=True))
        length = sum(one.tokens for one in said) / sum(base.tokens for base in of_base)
        broken = sum(one.breaks_off for one in said)
        general.add_row(
            way.title, f"{same / len(said):.0%}", f"{length:.2f} x the base's", str(broken), str(len(said))
        )
    console.print(answers)
    console.print(general)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Where does a model know something of its person from?")
    parser.add_argument("--people", type=int, default=8, help="models of each seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--general", type=int, default=48, help="general requests")
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    parser.add_argument("--json", type=Path, help="write every answer's hit to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()

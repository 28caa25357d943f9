"""Context distillation: facts that a model knows only from a note in its prompt become part of its weights.

A personal model is asked about eight facts in several ways. It answers without a note, and the base, which
reads the note of that fact as well, scores the answer token by token: the tokens that it prefers become
likelier. No note is in the training data. Afterwards the model is asked in other words.

    python examples/distill_context.py
    python examples/distill_context.py --seeds 1 --rounds 10 --form sampled --json facts.json

"With the note" is the base with the note in its prompt, "before" and "after" are the model without it; all
answer greedily, and the questions are not among those of the training. Effects on other requests: "same as
base" is the share of answers to general questions that begin with the base's words; "KL" and "loss" are the
divergence from the base and the increase of the loss on general text, in nats per token.
"""

import argparse
import json
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from populace.actors.engine import Message, OwnedEngine
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.prepare import prepare_base
from populace.engines.in_process import start_in_process
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, evaluate
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.distillation import DistillationMethod, DistillationOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import EngineSampler, engine_sampler
from populace.learning.on_policy.tasks import ContextQuery
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings
from populace.storage.revisions import RevisionFiles

QUERIES = 24
"""Queries in a round."""
ROUND = RoundOptions(replies=2, tokens_max=10, steps=2)
LEARNING_RATE = 1e-3
FORWARD = 0.5
"""The weight of the forward KL, which raises tokens that the student itself would hardly ever sample."""
VOCABULARY = 2**20
"""More tokens than any base's vocabulary has."""
ANSWER_TOKENS = 20
CONTEXT_TOKENS = 256
SAME_WORDS = 5


class Fact(NamedTuple):
    """A fact about the user (``known``), the answer that states it (``said``), and the word that is graded.

    The questions in ``taught`` are in the training, those in ``held_out`` are not.
    """

    known: str
    said: str
    value: str
    taught: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def note(self) -> str:
        """The note. It has the answer too: from ``known`` alone the small base names half of the facts."""
        return f"Your notes on the user: {self.known} Answer from your notes, as: {self.said}"


FACTS = (
    Fact(
        "The user's dog is called Bruno.",
        "Your dog is called Bruno.",
        "Bruno",
        ("What is my dog's name?", "What is my dog called?", "Do you know the name of my dog?"),
        ("Tell me my dog's name.", "How is my dog called?"),
    ),
    Fact(
        "The user lives in Lisbon.",
        "You live in Lisbon.",
        "Lisbon",
        ("Where do I live?", "Which city do I live in?", "What city is my home?"),
        ("In what city do I live?", "Tell me where I live."),
    ),
    Fact(
        "The user's favorite color is green.",
        "Your favorite color is green.",
        "green",
        ("What is my favorite color?", "Which color do I like best?", "What color do I love most?"),
        ("Tell me my favorite color.", "Which color is my favorite?"),
    ),
    Fact(
        "The user works as a baker.",
        "You work as a baker.",
        "baker",
        ("What is my job?", "What do I do for a living?", "What do I work as?"),
        ("Tell me my job.", "What is my profession?"),
    ),
    Fact(
        "The user plays the violin.",
        "You play the violin.",
        "violin",
        ("What instrument do I play?", "Which instrument do I play?", "What do I play in the orchestra?"),
        ("Tell me which instrument I play.", "What is my instrument?"),
    ),
    Fact(
        "The user's favorite food is pizza.",
        "Your favorite food is pizza.",
        "pizza",
        ("What is my favorite food?", "What do I like to eat most?", "Which food do I like best?"),
        ("Tell me my favorite food.", "Which food is my favorite?"),
    ),
    Fact(
        "The user's cat is called Pixel.",
        "Your cat is called Pixel.",
        "Pixel",
        ("What is my cat's name?", "What is my cat called?", "Do you know the name of my cat?"),
        ("Tell me my cat's name.", "How is my cat called?"),
    ),
    Fact(
        "The user is going on holiday to Norway.",
        "You are going on holiday to Norway.",
        "Norway",
        ("Where am I going on holiday?", "Which country am I going to?", "Where do I spend my holiday?"),
        ("Tell me where I am going on holiday.", "What country is my holiday in?"),
    ),
)

GENERAL = (
    "What is the capital of Italy?",
    "How many months are in a year?",
    "What is ten minus four?",
    "Name a vegetable.",
    "Why do birds sing?",
    "What does a doctor do?",
    "Say thank you in French.",
    "What is the opposite of cold?",
    "Who wrote Hamlet?",
    "What is ice made of?",
    "What do cows eat?",
    "How many legs has a spider?",
)
"""Questions that are neither about the user nor in the general text on which the divergence is measured."""


class Run(NamedTuple):
    """The result of one seed: shares of answers, losses and divergences in nats per token, and seconds."""

    seed: int
    after: float
    same_as_base: float
    probe_kl: float
    probe_loss: float
    reverse_kl: list[float]
    seconds: float


def main() -> None:
    options = _options()
    console = Console()
    # SIGTERM is handled as Ctrl-C, which also ends the engine's process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    enter_quiet_environment()
    base = prepare_base(None, Settings.from_environment().cache)
    frozen, tokenizer = FrozenBase(base.directory, base.fingerprint), BaseTokenizer(base.directory)

    def start() -> Awaitable[OwnedEngine]:
        return start_in_process(base, context_tokens=CONTEXT_TOKENS)

    with (
        tempfile.TemporaryDirectory(prefix="distill-context-") as folder,
        engine_sampler(start, RevisionFiles(Path(folder))) as sampler,
    ):
        study = DistillationStudy(frozen, tokenizer, sampler, console)
        untrained = study.session(0, 1).adapter
        noted, before = study.known(untrained, noted=True), study.known(untrained, noted=False)
        console.print(f"With its note the base knows {noted:.0%}, without {before:.0%}.", highlight=False)
        runs = [
            study.run(seed, options.rounds, exact=options.form == "exact") for seed in range(options.seeds)
        ]
    _print(console, noted, before, runs)
    if options.json is not None:
        body = {"noted": noted, "before": before, "runs": [run._asdict() for run in runs]}
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


class DistillationStudy:
    """Trains adapters on the facts, and measures what they know."""

    def __init__(
        self, base: FrozenBase, tokenizer: BaseTokenizer, sampler: EngineSampler, console: Console
    ) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._sampler = sampler
        self._console = console

    def run(self, seed: int, rounds: int, *, exact: bool) -> Run:
        """Distil the notes into a new adapter in ``rounds`` rounds, and measure it."""
        queries = [ContextQuery(_asked(ask), fact.note) for fact in FACTS for ask in fact.taught]
        method = DistillationMethod(
            queries,
            self._base,
            self._tokenizer,
            None,
            # The whole vocabulary, because a name from the note is not among the student's likeliest tokens.
            DistillationOptions(exact=exact, top=VOCABULARY, forward=FORWARD),
            tokens_max=ROUND.tokens_max,
        )
        curriculum = RolloutCurriculum(method, self._sampler, self._base, ROUND)
        session = self.session(seed, rounds * ROUND.steps)
        began = time.monotonic()
        distances = self._learn(session, curriculum)
        seconds = time.monotonic() - began
        encoder = ExampleEncoder(self._tokenizer, CONTEXT_TOKENS)
        nothing = HeldOutReplies(self._base, [])
        general = evaluate(self._base, encoder, nothing, parent=None, candidate=session.adapter)
        after = self.known(session.adapter, noted=False)
        self._console.print(f"seed {seed}: {after:.0%} without a note, {seconds:.0f} s", highlight=False)
        return Run(
            seed,
            after,
            self._same_as_base(session.adapter),
            general.probe_kl,
            general.probe_candidate - general.probe_base,
            distances,
            seconds,
        )

    def session(self, seed: int, steps: int) -> TrainingSession:
        """Begin the training of a new adapter, which equals the base."""
        adapter = TrainableAdapter.begin(
            self._base.model, self._base.modules, LoraShape(rank=16), "uniform", seed=seed
        )
        rates = StepOptions(steps=steps, learning_rate=LEARNING_RATE, seed=seed)
        return TrainingSession(f"seed {seed}", adapter, rates)

    def known(self, adapter: TrainableAdapter, *, noted: bool) -> float:
        """Return the share of held-out questions whose greedy answer is right, with a note or without."""
        asked = [(fact, _asked(ask)) for fact in FACTS for ask in fact.held_out]
        prompts = [ContextQuery(ask, fact.note).taught if noted else ask for fact, ask in asked]
        replies = self._answers(adapter, prompts)
        return statistics.fmean(
            re.search(rf"\b{fact.value}\b", reply, re.IGNORECASE) is not None
            for (fact, _), reply in zip(asked, replies, strict=True)
        )

    def _same_as_base(self, adapter: TrainableAdapter) -> float:
        prompts = [_asked(ask) for ask in GENERAL]
        of_base = self._answers(self.session(0, 1).adapter, prompts)
        replies = self._answers(adapter, prompts)
        return statistics.fmean(
            expected.split()[:SAME_WORDS] == reply.split()[:SAME_WORDS]
            for expected, reply in zip(of_base, replies, strict=True)
        )

    def _answers(self, adapter: TrainableAdapter, prompts: Sequence[tuple[Message, ...]]) -> list[str]:
        packed = adapter.pack(self._base.fingerprint, self._base.dtype)
        replies = self._sampler.answers(packed, prompts, tokens_max=ANSWER_TOKENS)
        return [reply.reply for reply in replies]

    def _learn(self, session: TrainingSession, curriculum: RolloutCurriculum) -> list[float]:
        distances: list[float] = []
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task(session.name, total=session.options.steps)
            while session.step < session.options.steps:
                [outcome] = take_step(self._base, [(session, curriculum.objective(session, QUERIES))])
                if not isinstance(outcome, StepReport):
                    raise outcome
                distances.append(outcome.metrics["reverse_kl"])
                shown = f"{session.name}: {distances[-1]:.2f} nats per token from the base with its note"
                progress.update(task, advance=1, description=shown)
        return distances


def _asked(ask: str) -> tuple[Message, ...]:
    return (Message("system", "Be brief."), Message("user", ask))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Distil facts from a note in the prompt into a personal model's weights."
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings (default: 3)")
    parser.add_argument("--rounds", type=int, default=30, help=f"rounds of {QUERIES} queries (default: 30)")
    parser.add_argument(
        "--form", choices=("exact", "sampled"), default="exact", help="the divergence's form (default: exact)"
    )
    parser.add_argument("--json", type=Path, help="write the results and each step's divergence to this file")
    return parser.parse_args()


def _print(console: Console, noted: float, before: float, runs: Sequence[Run]) -> None:
    table = Table("seed", "with the note", "before", "after", "same as base", "KL", "loss", "seconds")
    for run in runs:
        table.add_row(
            str(run.seed),
            f"{noted:.0%}",
            f"{before:.0%}",
            f"{run.after:.0%}",
            f"{run.same_as_base:.0%}",
            f"{run.probe_kl:.3f}",
            f"{run.probe_loss:+.3f}",
            f"{run.seconds:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()

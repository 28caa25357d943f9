"""Trains the adapters of a study of whose writing it is, and reads held-out entries with them."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from rich.progress import Progress
from style.findings import BaseReadings, SeedReadings
from style.study import Study, tokens_of

from populace.actors.errors import TrainingFailed
from populace.actors.training_options import steps_of
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.curricula import SupervisedCurriculum
from populace.learning.evaluation import HeldOutReplies, reply_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.learning.lower_part import LowerPart
from populace.learning.methods.objective import TrainSequence
from populace.learning.session import StepOptions, StepReport, TrainingSession
from populace.learning.trainer import Candidate, Learner, Trainer, TrainerProgress
from populace.policies.hold_out import held_out_lines
from populace.storage.packed.adapter import PackedAdapter

EVERYBODY = "everybody"
BATCH = 4
"""Examples of each person in a training step. There are few, because a person has few examples."""

WARM_UP = 2
TRAINED_COST = 3
"""Training on a token takes this many times as long as reading it."""

JUDGING_MIN = 2
"""At least so many of a person's entries say how much of a personal part is kept, and teach it nothing."""


class StudyProgress(TrainerProgress):
    """Shows the progress of the whole study, in tokens read."""

    def __init__(self, progress: Progress, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def at(self, what: str) -> None:
        """Name the current work."""
        self._progress.update(self._task, description=what)

    def read(self, tokens: float) -> None:
        """Count tokens as read."""
        self._progress.advance(self._task, tokens)

    def stepped(self, name: str, report: StepReport, seconds: float = 0.0) -> None:
        """Count the tokens of a training step."""
        self.read(TRAINED_COST * report.tokens)


class StyleReader:
    """Trains the adapters of a study, and reads held-out entries with them and with the base."""

    def __init__(self, base: FrozenBase, trainer: Trainer, study: Study, progress: StudyProgress) -> None:
        self._base = base
        self._trainer = trainer
        self._study = study
        self._progress = progress

    def base(self) -> BaseReadings:
        """Read all held-out entries with the base, alone and after retrieved entries."""
        self._progress.at("the base reads")
        return BaseReadings(self._read(None, self._study.held_out), self._read(None, self._study.recalled))

    def adapters(self, options: argparse.Namespace, seed: int) -> SeedReadings:
        """Train personal adapters and the pooled one in shared steps, then further ones from and on that.

        The pooled adapter sees each entry as often as its writer's adapter does, and so takes as many steps
        as all people's together. What goes on from it changes it; a personal part on it leaves it as it is,
        and of that as much is kept as the person's own other entries say. Returns the log-likelihoods.
        """
        study = self._study
        self._progress.at(f"seed {seed} trains")
        rate, people = options.learning_rate, range(len(study.labels))
        learners = [self._learner(person, None, rate, options, seed) for person in people]
        everybody = (people, people[::2], people[1::2])
        learners += [self._community(some, rate, options, seed) for some in everybody]
        *own, all_of_them, evens, odds = self._trained(learners)
        pooled = self._lower(all_of_them, options)
        strangers = [self._lower((odds, evens)[person % 2], options) for person in people]
        self._progress.at(f"seed {seed} trains from everybody's")
        further = self._trained(
            [
                self._learner(person, self._served(all_of_them, options), options.further_rate, options, seed)
                for person in people
            ]
        )
        self._progress.at(f"seed {seed} trains on everybody's")
        on_pooled, shares = self._parts([pooled for _ in people], options, seed)
        self._progress.at(f"seed {seed} trains on strangers'")
        on_strangers, shares_of_new = self._parts(strangers, options, seed)
        self._progress.at(f"seed {seed} reads")
        adapters = [self._served(candidate, options) for candidate in own]
        further_adapters = [self._served(candidate, options) for candidate in further]
        return SeedReadings(
            adapters=[self._read(adapter, study.held_out) for adapter in adapters],
            pooled=self._read(pooled.adapter, study.held_out),
            both=self._read_each(adapters, study.recalled),
            further=self._read_each(further_adapters, study.held_out),
            # The next person's adapter is the control for all others: a whole matrix would take too long.
            further_other=self._read_each(further_adapters[1:] + further_adapters[:1], study.held_out),
            further_both=self._read_each(further_adapters, study.recalled),
            on_pooled=self._read_each(on_pooled, study.held_out),
            shares=shares,
            strangers=self._read_each([lower.adapter for lower in strangers], study.held_out),
            on_strangers=self._read_each(on_strangers, study.held_out),
            shares_of_new=shares_of_new,
            objections=[candidate.verdict.objections for candidate in own],
            divergence=[candidate.evaluation.probe_kl for candidate in own],
        )

    def _community(
        self, people: Sequence[int], rate: float, options: argparse.Namespace, seed: int
    ) -> Learner:
        entries = [entry for person in people for entry in self._study.learned[person]]
        name = f"{EVERYBODY} {people[0]} {len(people)}"
        return self._made(name, entries, (), None, rate, options, seed)

    def _lower(self, candidate: Candidate, options: argparse.Namespace) -> LowerPart:
        digest = PackedAdapter(memoryview(candidate.packed)).digest
        return LowerPart(digest, self._served(candidate, options), candidate.packed)

    def _parts(
        self, lowers: Sequence[LowerPart], options: argparse.Namespace, seed: int
    ) -> tuple[list[TrainableAdapter], list[float]]:
        """Train each person's part on a lower revision; returns what they are served, and its shares."""
        parts = self._trained([self._on(person, lower, options, seed) for person, lower in enumerate(lowers)])
        shares = [part.evaluation.on.share for part in parts if part.evaluation.on is not None]
        served = [
            self._served(part, options) if share else lower.adapter
            for part, share, lower in zip(parts, shares, lowers, strict=True)
        ]
        return served, shares

    def _trained(self, learners: Sequence[Learner]) -> list[Candidate]:
        candidates: list[Candidate] = []
        for outcome in self._trainer.train(learners, self._progress).values():
            if isinstance(outcome, TrainingFailed):
                raise SystemExit(str(outcome))
            candidates.append(outcome)
        return candidates

    def _served(self, candidate: Candidate, options: argparse.Namespace) -> TrainableAdapter:
        """Return the adapter as it is served: packing rounds the weights of the training."""
        return TrainableAdapter.of_packed(candidate.packed, self._base.modules, rank_max=2 * options.rank)

    def _learner(
        self, person: int, start: TrainableAdapter | None, rate: float, options: argparse.Namespace, seed: int
    ) -> Learner:
        study = self._study
        return self._made(
            study.labels[person], study.learned[person], study.held_out[person], start, rate, options, seed
        )

    def _on(self, person: int, lower: LowerPart, options: argparse.Namespace, seed: int) -> Learner:
        """Make the training of a personal part on the pooled adapter, with some entries to judge it by."""
        own, study = self._study.learned[person], self._study
        judging = held_out_lines(len(own), min(JUDGING_MIN, len(own) - 1))
        taught = [entry for number, entry in enumerate(own, 1) if number not in judging]
        judged = [entry for number, entry in enumerate(own, 1) if number in judging]
        made = self._made(study.labels[person], taught, judged, None, options.learning_rate, options, seed)
        part = made.session.adapter.on(lower.adapter, lower.digest)
        session = TrainingSession(made.name, part, made.session.options)
        return replace(made, session=session, parent=lower.adapter, lower=lower)

    def _made(
        self,
        name: str,
        learned: Sequence[TrainSequence],
        held_out: Sequence[TrainSequence],
        start: TrainableAdapter | None,
        rate: float,
        options: argparse.Namespace,
        seed: int,
    ) -> Learner:
        shape = LoraShape(rank=options.rank)
        adapter = start or TrainableAdapter.begin(
            self._base.model, self._base.modules, shape, "uniform", seed=seed
        )
        steps = StepOptions(
            steps=steps_of(len(learned), BATCH, options.epochs),
            learning_rate=rate,
            warm_up=WARM_UP,
            seed=seed,
        )
        session = TrainingSession(name, adapter, steps)
        return Learner(session, SupervisedCurriculum(learned), None, HeldOutReplies(self._base, held_out))

    def _read_each(
        self, adapters: Sequence[TrainableAdapter], entries: Sequence[Sequence[TrainSequence]]
    ) -> list[list[float]]:
        """Read the entries of each person with the adapter in the same place."""
        return [self._read(adapter, [own])[0] for adapter, own in zip(adapters, entries, strict=True)]

    def _read(
        self, adapter: TrainableAdapter | None, entries: Sequence[Sequence[TrainSequence]]
    ) -> list[list[float]]:
        """Return the log-likelihood of each entry of each person, in nats."""
        answers: list[list[float]] = []
        for own in entries:
            answers.append(reply_log_probs(self._base, adapter, own))
            self._progress.read(tokens_of([own]))
        return answers

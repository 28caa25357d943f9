"""Does a personal model write like its person? Real people's writing, and what each adapter makes of it.

The people are those who wrote most into the Debian changelogs of this machine. Each gets an adapter, trained
on their older entries; one more is trained on everybody's, and each gets another one that goes on from that.
All read the newer entries of all, and what counts is how likely these are: no judge, nothing is sampled.

    python examples/personal_style.py --to study
    python examples/personal_style.py --people 3 --seeds 1 --epochs 1

What is asked for names a package and a version. Half of the names are nobody's to learn from, and what is
held out is of those, or a name would tell the person; ``--same-packages`` does without. People are printed
as initials: what is asked is whether they can be told apart, not who they are.

``--to`` keeps each seed's scores, so that the same command goes on after an interruption, and writes the
result and a picture of it. Without, nothing is written.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table
from style.changelogs import Budget, Entry
from style.findings import BaseReadings, Finding, Readings, SeedReadings, findings_of
from style.picture import Bar, picture
from style.study import Study, make_study, tokens_of

from populace.actors.errors import TrainingFailed
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.prepare import prepare_base
from populace.bench.report import machine
from populace.cli.console import progress as progress_display
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import SupervisedCurriculum, steps_of
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, reply_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.session import StepOptions, StepReport, TrainingSession
from populace.learning.trainer import Candidate, Learner, Trainer
from populace.policies.evaluation_gate import GateRule
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably

EVERYBODY = "everybody"
BATCH = 4
"""Examples of a person in a step: few, because there are few in all."""

WARM_UP = 2
PLACES = ("base", "changelogs", "to", "json")
"""Options that say where, and not what."""

TRAINED_COST = 3
"""A token that is learned takes as long as so many that are read."""


class Watch:
    """Shows how far everything together is, in tokens read."""

    def __init__(self, progress: Progress, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def at(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def read(self, tokens: float) -> None:
        self._progress.advance(self._task, tokens)

    def stepped(self, name: str, report: StepReport, seconds: float = 0.0) -> None:
        self.read(TRAINED_COST * report.tokens)

    def goes_on(self, name: str) -> bool:
        return True


class Readers:
    """The base, and the adapters that are trained on it, as readers of everybody's held-out entries."""

    def __init__(self, base: FrozenBase, trainer: Trainer, study: Study, watch: Watch) -> None:
        self._base = base
        self._trainer = trainer
        self._study = study
        self._watch = watch

    def base(self) -> BaseReadings:
        self._watch.at("the base reads")
        return BaseReadings(self._read(None, self._study.held_out), self._read(None, self._study.recalled))

    def adapters(self, options: argparse.Namespace, seed: int) -> SeedReadings:
        """Train everybody in shared steps, and one adapter more on all; then everybody from that one on.

        The one of all sees each entry as often as its writer's does: as many steps as all people's together.
        """
        study = self._study
        self._watch.at(f"seed {seed} learns")
        everything = [one for own in study.learned for one in own]
        rate, people = options.learning_rate, range(len(study.labels))
        learners = [self._learner(at, None, rate, options, seed) for at in people]
        learners.append(self._made(EVERYBODY, everything, (), None, rate, options, seed))
        *own, pooled = self._trained(learners)
        begun = self._served(pooled, options)
        self._watch.at(f"seed {seed} goes on from everybody's")
        rate = options.further_rate
        further = self._trained(
            [self._learner(at, self._served(pooled, options), rate, options, seed) for at in people]
        )
        self._watch.at(f"seed {seed} reads")
        adapters = [self._served(one, options) for one in own]
        further_adapters = [self._served(one, options) for one in further]
        return SeedReadings(
            adapters=[self._read(adapter, study.held_out) for adapter in adapters],
            pooled=self._read(begun, study.held_out),
            both=self._read_each(adapters, study.recalled),
            further=self._read_each(further_adapters, study.held_out),
            # The next person's stands for all others': it is a placebo, and needs no matrix.
            further_other=self._read_each(further_adapters[1:] + further_adapters[:1], study.held_out),
            further_both=self._read_each(further_adapters, study.recalled),
            objections=[one.verdict.objections for one in own],
            divergence=[one.evaluation.probe_kl for one in own],
        )

    def _trained(self, learners: Sequence[Learner]) -> list[Candidate]:
        candidates: list[Candidate] = []
        for outcome in self._trainer.train(learners, self._watch).values():
            if isinstance(outcome, TrainingFailed):
                raise SystemExit(str(outcome))
            candidates.append(outcome)
        return candidates

    def _served(self, candidate: Candidate, options: argparse.Namespace) -> TrainableAdapter:
        """As it would be served: training has more digits."""
        return TrainableAdapter.of_packed(candidate.packed, self._base.modules, rank_max=options.rank)

    def _learner(
        self, person: int, begun: TrainableAdapter | None, rate: float, options: argparse.Namespace, seed: int
    ) -> Learner:
        study = self._study
        return self._made(
            study.labels[person], study.learned[person], study.held_out[person], begun, rate, options, seed
        )

    def _made(
        self,
        name: str,
        learned: Sequence[TrainSequence],
        held_out: Sequence[TrainSequence],
        begun: TrainableAdapter | None,
        rate: float,
        options: argparse.Namespace,
        seed: int,
    ) -> Learner:
        shape = LoraShape(rank=options.rank)
        adapter = begun or TrainableAdapter.begin(
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
        """Each adapter reads the entries of one person."""
        return [self._read(adapter, [one])[0] for adapter, one in zip(adapters, entries, strict=True)]

    def _read(
        self, adapter: TrainableAdapter | None, entries: Sequence[Sequence[TrainSequence]]
    ) -> list[list[float]]:
        """The log-likelihood of each entry of each person, in nats."""
        answers: list[list[float]] = []
        for own in entries:
            answers.append(reply_log_probs(self._base, adapter, own))
            self._watch.read(tokens_of([own]))
        return answers


class Kept:
    """The seeds of one study that have been read, in a folder; without one nothing is kept."""

    def __init__(self, folder: Path | None, study: str) -> None:
        self._folder = folder
        self._study = study

    def has(self, name: str) -> bool:
        return self._folder is not None and (self._folder / f"{name}.json").exists()

    def or_made(self, name: str, make: Callable[[], SeedReadings]) -> SeedReadings:
        """Read it, or make it and keep it. A file is whole or is not there."""
        if self._folder is None:
            return make()
        path = self._folder / f"{name}.json"
        if path.exists():
            content = json.loads(path.read_bytes())
            if content["study"] != self._study:
                raise SystemExit(f"{path} is of another study: other options, changelogs or base")
            return SeedReadings(**content["readings"])
        made = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps({"study": self._study, "readings": asdict(made)}).encode())
        return made


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        run(_options(arguments))
    except KeyboardInterrupt:
        # What a seed would have had is not written: it begins again.
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Read as the base, train and read seed by seed, and say what was found."""
    files = prepare_base(options.base, Settings.from_environment().cache)
    tokenizer = BaseTokenizer(files.directory)
    encoder = ExampleEncoder(tokenizer, files.context_tokens)
    budget = Budget(options.learned, options.held_out)
    try:
        study = make_study(
            options.changelogs,
            options.people,
            budget,
            tokenizer,
            encoder,
            same_packages=options.same_packages,
        )
    except LookupError as error:
        raise SystemExit(str(error)) from error
    base = FrozenBase(files.directory, files.fingerprint)
    trainer = Trainer(base, encoder, gate=GateRule(), rank_max=options.rank, batch=BATCH)
    rates = (options.learning_rate, options.further_rate)
    told = (study.digest, options.rank, *rates, options.epochs, BATCH, WARM_UP)
    kept = Kept(options.to, f"{files.fingerprint} {told}")
    names = {f"seed-{seed}": seed for seed in range(options.seeds)}
    # By each person's adapter, everybody's, and each that goes on from that.
    learned = 3 * options.epochs * tokens_of(study.learned)
    missing = sum(not kept.has(name) for name in names)
    total = study.base_tokens + missing * (study.seed_tokens + TRAINED_COST * learned)
    with progress_display(TimeRemainingColumn()) as progress:
        readers = Readers(base, trainer, study, Watch(progress, total))
        began = time.monotonic()
        alone = readers.base()
        minutes = (time.monotonic() - began) / study.base_tokens * total / 60
        progress.console.print(
            f"{len(study.writers)} people, seeds to go: {missing}; each learns {learned:,.0f} tokens and "
            f"reads {study.seed_tokens:,}: about {minutes:.0f} minutes",
            highlight=False,
        )
        seeds = [kept.or_made(name, partial(readers.adapters, options, seed)) for name, seed in names.items()]
    tokens = [[len(one.scored) for one in own] for own in study.held_out]
    report(study, Readings(study.labels, tokens, alone, seeds), options)


def report(study: Study, readings: Readings, options: argparse.Namespace) -> None:
    """Print what was found, and write it and its picture if there is where to."""
    found = findings_of(readings)
    people = [
        {
            "person": label,
            "learned": _counted(writer.learned),
            "held out": _counted(writer.held_out),
            "base": round(found.base[at], 3),
            "own": round(found.losses[at][at], 3),
            "others": round(fmean(row[at] for i, row in enumerate(found.losses) if i != at), 3),
        }
        for at, (label, writer) in enumerate(zip(study.labels, study.writers, strict=True))
    ]
    body = {
        "machine": machine(),
        "options": {name: value for name, value in vars(options).items() if name not in PLACES},
        "people": people,
        "findings": found._asdict(),
        "readings": asdict(readings),
    }
    if options.to is not None:
        write_durably(options.to / "result.json", json.dumps(body).encode())
        bars = [Bar(one.name, one.mean, one.low, one.high) for one in found.gains]
        write_durably(options.to / "personal-style.svg", picture(study.labels, found.losses, bars).encode())
    if options.json:
        print(json.dumps(body))
        return
    console = Console()
    table = Table(*people[0], title="Held-out loss in nats a token")
    for row in people:
        table.add_row(*map(str, row.values()))
    console.print(table)
    _print_losses(console, study.labels, found.losses)
    _print_findings(console, "Gain over the base in nats a token", found.gains, "{:+.3f}")
    _print_findings(console, "Difference in nats a token, paired", found.differences, "{:+.3f}")
    chance = f"Told by their writing (by chance {1 / len(people):.0%} from all, 50% from one)"
    _print_findings(console, chance, found.told, "{:.0%}")
    console.print(
        f"The gate would promote {found.promoted:.0%} of the adapters; on general text they are "
        f"{found.divergence:.3f} nats a token (KL) from the base.",
        highlight=False,
    )


def _counted(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} entries of {len({one.package for one in entries})} packages"


def _print_losses(console: Console, labels: Sequence[str], losses: Sequence[Sequence[float]]) -> None:
    table = Table("adapter", *labels, title="Whose text, by whose adapter: held-out loss in nats a token")
    for i, (label, row) in enumerate(zip(labels, losses, strict=True)):
        table.add_row(
            label, *(f"[bold]{one:.2f}[/]" if i == j else f"{one:.2f}" for j, one in enumerate(row))
        )
    console.print(table)


def _print_findings(console: Console, title: str, findings: Sequence[Finding], form: str) -> None:
    table = Table("", "mean", "95 %", "each seed", title=title)
    for one in findings:
        each = ", ".join(form.format(value) for value in one.each_seed)
        table.add_row(
            one.name, form.format(one.mean), f"{form.format(one.low)} to {form.format(one.high)}", each
        )
    console.print(table)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Does a personal model write like its person?")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--learned", type=int, default=1600, help="tokens of each person to learn from")
    parser.add_argument("--held-out", type=int, default=600, help="newer tokens of each person to read")
    parser.add_argument("--same-packages", action="store_true", help="hold out of what is learned from, too")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument(
        "--further-rate", type=float, default=2e-4, help="of those that go on from everybody's adapter"
    )
    parser.add_argument("--base", help="a directory; default: the default base")
    parser.add_argument(
        "--changelogs", type=Path, default=Path("/usr/share/doc"), help="where packages have them"
    )
    parser.add_argument("--to", type=Path, help="a directory for scores, the result and its picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    if options.people < 2 or options.seeds < 1:
        parser.error("there is nothing to compare with fewer than two people and one seed")
    return options


if __name__ == "__main__":
    main()

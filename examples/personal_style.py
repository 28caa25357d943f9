"""Measures how much better personal adapters predict the writing of their own person.

The people are those who wrote most in the Debian changelogs of this machine. Each gets an adapter that is
trained on their older entries; a pooled adapter is trained on those of all people, and each person gets a
further adapter that is trained from it. All adapters read the newer entries of all people, and the measure is
the likelihood of these: there is no judge and no sampling.

    python examples/personal_style.py --to study
    python examples/personal_style.py --people 3 --seeds 1 --epochs 1

A prompt names a package and a version. Held-out entries are of packages that no training data has, because a
package's name could identify the person; ``--same-packages`` lifts this. People are printed as initials.

``--to`` keeps each seed's scores, so that the same command resumes after an interruption, and writes the
result and a picture of it, which takes ``pip install "populace[pictures]"``. Without it nothing is written.
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
from populace.actors.training_options import steps_of
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.prepare import prepare_base
from populace.bench.report import machine
from populace.cli.console import progress as progress_display
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, reply_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.session import StepOptions, StepReport, TrainingSession
from populace.learning.trainer import Candidate, Learner, Trainer
from populace.pictures.figures import require_matplotlib
from populace.policies.evaluation_gate import GateRule
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably

EVERYBODY = "everybody"
BATCH = 4
"""Examples of each person in a training step. There are few, because a person has few examples."""

WARM_UP = 2
PLACES = ("base", "changelogs", "to", "json")
"""Options that do not change the results."""

TRAINED_COST = 3
"""Training on a token takes this many times as long as reading it."""


class StudyProgress:
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

    def goes_on(self, name: str) -> bool:
        """Never stop a training."""
        return True


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
        """Train personal adapters and the pooled one in shared steps, then further ones from the pooled one.

        The pooled adapter sees each entry as often as its writer's adapter does, and so takes as many steps
        as all people's together. Returns the log-likelihoods under all of them.
        """
        study = self._study
        self._progress.at(f"seed {seed} trains")
        everything = [entry for own in study.learned for entry in own]
        rate, people = options.learning_rate, range(len(study.labels))
        learners = [self._learner(person, None, rate, options, seed) for person in people]
        learners.append(self._made(EVERYBODY, everything, (), None, rate, options, seed))
        *own, pooled = self._trained(learners)
        served_pooled = self._served(pooled, options)
        self._progress.at(f"seed {seed} trains from everybody's")
        rate = options.further_rate
        further = self._trained(
            [self._learner(person, self._served(pooled, options), rate, options, seed) for person in people]
        )
        self._progress.at(f"seed {seed} reads")
        adapters = [self._served(candidate, options) for candidate in own]
        further_adapters = [self._served(candidate, options) for candidate in further]
        return SeedReadings(
            adapters=[self._read(adapter, study.held_out) for adapter in adapters],
            pooled=self._read(served_pooled, study.held_out),
            both=self._read_each(adapters, study.recalled),
            further=self._read_each(further_adapters, study.held_out),
            # The next person's adapter is the control for all others: a whole matrix would take too long.
            further_other=self._read_each(further_adapters[1:] + further_adapters[:1], study.held_out),
            further_both=self._read_each(further_adapters, study.recalled),
            objections=[candidate.verdict.objections for candidate in own],
            divergence=[candidate.evaluation.probe_kl for candidate in own],
        )

    def _trained(self, learners: Sequence[Learner]) -> list[Candidate]:
        candidates: list[Candidate] = []
        for outcome in self._trainer.train(learners, self._progress).values():
            if isinstance(outcome, TrainingFailed):
                raise SystemExit(str(outcome))
            candidates.append(outcome)
        return candidates

    def _served(self, candidate: Candidate, options: argparse.Namespace) -> TrainableAdapter:
        """Return the adapter as it is served: packing rounds the weights of the training."""
        return TrainableAdapter.of_packed(candidate.packed, self._base.modules, rank_max=options.rank)

    def _learner(
        self, person: int, start: TrainableAdapter | None, rate: float, options: argparse.Namespace, seed: int
    ) -> Learner:
        study = self._study
        return self._made(
            study.labels[person], study.learned[person], study.held_out[person], start, rate, options, seed
        )

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


class SeedFiles:
    """The readings of each seed of one study, in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, study: str) -> None:
        self._folder = folder
        self._study = study

    def has(self, name: str) -> bool:
        """Return whether there is a file of this seed."""
        return self._folder is not None and (self._folder / f"{name}.json").exists()

    def load_or_make(self, name: str, make: Callable[[], SeedReadings]) -> SeedReadings:
        """Return the readings from their file, or make and write them. A file is whole or is not there.

        Raises ``SystemExit`` if the file is of another study.
        """
        if self._folder is None:
            return make()
        path = self._folder / f"{name}.json"
        if path.exists():
            content = json.loads(path.read_bytes())
            if content["study"] != self._study:
                raise SystemExit(f"{path} is of another study: its options, changelogs or base differ.")
            return SeedReadings(**content["readings"])
        made = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps({"study": self._study, "readings": asdict(made)}).encode())
        return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study; an interrupt exits with status 130."""
    try:
        run(_options(arguments))
    except KeyboardInterrupt:
        # Readings are written when a seed is complete, so an interrupted seed begins again.
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Read with the base, train and read seed by seed, and print and write the findings."""
    if options.to is not None:
        require_matplotlib()
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
    identity = (study.digest, options.rank, *rates, options.epochs, BATCH, WARM_UP)
    seed_files = SeedFiles(options.to, f"{files.fingerprint} {identity}")
    names = {f"seed-{seed}": seed for seed in range(options.seeds)}
    # Three times: by the personal adapters, the pooled one, and the further ones.
    learned = 3 * options.epochs * tokens_of(study.learned)
    missing = sum(not seed_files.has(name) for name in names)
    total = study.base_tokens + missing * (study.seed_tokens + TRAINED_COST * learned)
    with progress_display(TimeRemainingColumn()) as progress:
        reader = StyleReader(base, trainer, study, StudyProgress(progress, total))
        began = time.monotonic()
        alone = reader.base()
        minutes = (time.monotonic() - began) / study.base_tokens * total / 60
        progress.console.print(
            f"{len(study.writers)} people, {missing} seeds to go; each trains on {learned:,.0f} tokens "
            f"and reads {study.seed_tokens:,}: about {minutes:.0f} minutes",
            highlight=False,
        )
        seeds = [
            seed_files.load_or_make(name, partial(reader.adapters, options, seed))
            for name, seed in names.items()
        ]
    tokens = [[len(entry.scored) for entry in own] for own in study.held_out]
    report(study, Readings(study.labels, tokens, alone, seeds), options)


def report(study: Study, readings: Readings, options: argparse.Namespace) -> None:
    """Print the findings; with ``--to`` write them and their picture."""
    findings = findings_of(readings)
    people = [
        {
            "person": label,
            "learned": _counted(writer.learned),
            "held out": _counted(writer.held_out),
            "base": round(findings.base[at], 3),
            "own": round(findings.losses[at][at], 3),
            "others": round(fmean(row[at] for i, row in enumerate(findings.losses) if i != at), 3),
        }
        for at, (label, writer) in enumerate(zip(study.labels, study.writers, strict=True))
    ]
    body = {
        "machine": machine(),
        "options": {name: value for name, value in vars(options).items() if name not in PLACES},
        "people": people,
        "findings": findings._asdict(),
        "readings": asdict(readings),
    }
    if options.to is not None:
        write_durably(options.to / "result.json", json.dumps(body).encode())
        bars = [Bar(gain.name, gain.mean, gain.low, gain.high) for gain in findings.gains]
        write_durably(
            options.to / "personal-style.svg", picture(study.labels, findings.losses, bars).encode()
        )
    if options.json:
        print(json.dumps(body))
        return
    console = Console()
    table = Table(*people[0], title="Held-out loss in nats per token")
    for row in people:
        table.add_row(*map(str, row.values()))
    console.print(table)
    _print_losses(console, study.labels, findings.losses)
    _print_findings(console, "Gain over the base in nats per token", findings.gains, "{:+.3f}")
    _print_findings(console, "Paired difference in nats per token", findings.differences, "{:+.3f}")
    chance = f"Writers identified by their text (by chance {1 / len(people):.0%} from all, 50% from one)"
    _print_findings(console, chance, findings.told, "{:.0%}")
    console.print(
        f"The gate would promote {findings.promoted:.0%} of the adapters; on general text their KL "
        f"divergence from the base is {findings.divergence:.3f} nats per token.",
        highlight=False,
    )


def _counted(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} entries of {len({entry.package for entry in entries})} packages"


def _print_losses(console: Console, labels: Sequence[str], losses: Sequence[Sequence[float]]) -> None:
    table = Table(
        "adapter", *labels, title="Held-out loss in nats per token: adapter (rows), writer (columns)"
    )
    for i, (label, row) in enumerate(zip(labels, losses, strict=True)):
        table.add_row(
            label, *(f"[bold]{loss:.2f}[/]" if i == j else f"{loss:.2f}" for j, loss in enumerate(row))
        )
    console.print(table)


def _print_findings(console: Console, title: str, findings: Sequence[Finding], form: str) -> None:
    table = Table("", "mean", "95 %", "each seed", title=title)
    for finding in findings:
        each = ", ".join(form.format(value) for value in finding.each_seed)
        interval = f"{form.format(finding.low)} to {form.format(finding.high)}"
        table.add_row(finding.name, form.format(finding.mean), interval, each)
    console.print(table)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure how much better personal adapters predict the writing of their own person."
    )
    parser.add_argument("--people", type=int, default=8, help="number of people (default: 8)")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings (default: 3)")
    parser.add_argument("--epochs", type=float, default=3.0, help="epochs of each training (default: 3)")
    parser.add_argument(
        "--learned", type=int, default=1600, help="training tokens of each person (default: 1600)"
    )
    parser.add_argument(
        "--held-out", type=int, default=600, help="newer, held-out tokens of each person (default: 600)"
    )
    parser.add_argument(
        "--same-packages", action="store_true", help="allow packages of the training in the held-out entries"
    )
    parser.add_argument("--rank", type=int, default=8, help="rank of each adapter (default: 8)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default: 0.001")
    parser.add_argument(
        "--further-rate", type=float, default=2e-4, help="learning rate of further adapters (default: 0.0002)"
    )
    parser.add_argument("--base", help="a directory of a base (default: the default base)")
    parser.add_argument(
        "--changelogs",
        type=Path,
        default=Path("/usr/share/doc"),
        help="the directory of packages' documentation (default: /usr/share/doc)",
    )
    parser.add_argument(
        "--to", type=Path, help="write each seed's scores, the result and its picture to this directory"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    if options.people < 2 or options.seeds < 1:
        parser.error("at least two people and one seed are needed")
    return options


if __name__ == "__main__":
    main()

"""Measures how much better personal adapters predict the writing of their own person.

The people are those who wrote most in the Debian changelogs of this machine, or with ``--text upstream`` in
those of upstream projects. Each gets an adapter that is trained on their older entries; a pooled adapter is
trained on those of all people. Each person gets a further adapter that is trained from it, a personal part on
it, which leaves it as it is, and a newcomer's part on an adapter of strangers: half of the people, without
this one. All adapters read the newer entries of all people, and the measure is the likelihood of these: there
is no judge and no sampling. Several amounts of training tokens show from where on one's own text is worth
something.

    python examples/personal_style.py --to study
    python examples/personal_style.py --to study-sizes --learned 400 800 1600 3200
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
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.progress import TimeRemainingColumn
from rich.table import Table
from style.changelogs import Entry
from style.findings import Finding, Findings, Readings, SeedReadings, findings_of
from style.picture import Bar, picture
from style.reader import BATCH, JUDGING_MIN, TRAINED_COST, WARM_UP, StudyProgress, StyleReader
from style.study import KINDS, Study, make_studies, tokens_of

from populace.base.prepare import prepare_base
from populace.cli.console import progress as progress_display
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.trainer import Trainer
from populace.pictures.figures import require_matplotlib
from populace.policies.evaluation_gate import GateRule
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably
from scripts.bench.report import machine

PLACES = ("base", "changelogs", "to", "json")
"""Options that do not change the results."""

READ = tuple(field.name for field in fields(SeedReadings))
"""What is read: a file of an earlier release has less."""

SWEPT_GAINS = (
    "everybody's adapter",
    "own adapter",
    "own, from everybody's",
    "own, on everybody's",
    "strangers' adapter",
    "own, on strangers'",
)
SWEPT_DIFFERENCES = (
    "own on everybody's over everybody's",
    "own on strangers' over strangers'",
    "own on everybody's over own",
    "own on everybody's over own from everybody's",
)


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


class Planned(NamedTuple):
    """The study of one amount of training tokens, where its readings are kept, and the seeds by name."""

    study: Study
    files: SeedFiles
    names: dict[str, int]

    @property
    def missing(self) -> int:
        """The number of seeds that are not kept yet."""
        return sum(not self.files.has(name) for name in self.names)

    @property
    def learned(self) -> int:
        """The number of tokens that one epoch of the missing seeds trains on.

        They are learned by the personal adapters, the pooled one, those of both halves of the people, and
        those that are trained from it, on it and on these.
        """
        return 6 * self.missing * tokens_of(self.study.learned)

    @property
    def read(self) -> int:
        """The number of tokens that the base and the missing seeds read."""
        return self.study.base_tokens + self.missing * self.study.seed_tokens


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
    try:
        studies = make_studies(
            KINDS[options.text],
            options.changelogs,
            options.people,
            options.learned,
            options.held_out,
            tokenizer,
            encoder,
            same_packages=options.same_packages,
        )
    except LookupError as error:
        raise SystemExit(str(error)) from error
    base = FrozenBase(files.directory, files.fingerprint)
    # What is trained on everybody's adapter is served with it as one.
    trainer = Trainer(base, encoder, gate=GateRule(), rank_max=2 * options.rank, batch=BATCH)
    rates = (options.learning_rate, options.further_rate)
    planned: list[Planned] = []
    for study, size in zip(studies, options.learned, strict=True):
        identity = (study.digest, options.rank, *rates, options.epochs, BATCH, WARM_UP, JUDGING_MIN, READ)
        ending = f"-{size}" if len(studies) > 1 else ""
        names = {f"seed-{seed}{ending}": seed for seed in range(options.seeds)}
        planned.append(Planned(study, SeedFiles(options.to, f"{files.fingerprint} {identity}"), names))
    learned = options.epochs * sum(plan.learned for plan in planned)
    read = sum(plan.read for plan in planned)
    readings: list[Readings] = []
    with progress_display(TimeRemainingColumn()) as progress:
        shown = StudyProgress(progress, read + TRAINED_COST * learned)
        for study, seed_files, names in planned:
            reader = StyleReader(base, trainer, study, shown)
            began = time.monotonic()
            alone = reader.base()
            if not readings:
                seconds = (time.monotonic() - began) / study.base_tokens
                progress.console.print(
                    f"{len(study.writers)} people; the seeds to go train on {learned:,.0f} tokens and read "
                    f"{read:,}: about {seconds * (read + TRAINED_COST * learned) / 60:.0f} minutes",
                    highlight=False,
                )
            seeds = [
                seed_files.load_or_make(name, partial(reader.adapters, options, seed))
                for name, seed in names.items()
            ]
            tokens = [[len(entry.scored) for entry in own] for own in study.held_out]
            readings.append(Readings(study.labels, tokens, alone, seeds))
    report(studies[-1], readings, options)


def report(study: Study, by_size: Sequence[Readings], options: argparse.Namespace) -> None:
    """Print the findings; with ``--to`` write them and their picture.

    ``study`` is that of the most training tokens, and its readings are the last.
    """
    found = [findings_of(readings) for readings in by_size]
    findings, readings = found[-1], by_size[-1]
    sizes = options.learned
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
        "by_size": [
            {"learned": size, "findings": of_size._asdict()}
            for size, of_size in zip(sizes, found, strict=True)
        ],
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
    _print_sizes(console, sizes, found)
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


def _print_sizes(console: Console, sizes: Sequence[int], found: Sequence[Findings]) -> None:
    """Print what there is to say of each amount of training tokens, to see where one's own gets better."""

    def told(findings: Sequence[Finding], name: str) -> str:
        one = next(finding for finding in findings if finding.name == name)
        return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"

    table = Table("training tokens of each person", *map(str, sizes), title="By amount, in nats per token")
    for name in SWEPT_GAINS:
        table.add_row(f"{name}, over the base", *(told(one.gains, name) for one in found))
    for name in SWEPT_DIFFERENCES:
        table.add_row(name, *(told(one.differences, name) for one in found))
    table.add_row("mean share kept of own on everybody's", *(f"{one.share:.2f}" for one in found))
    table.add_row("mean share kept of own on strangers'", *(f"{one.share_of_new:.2f}" for one in found))
    console.print(table)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure how much better personal adapters predict the writing of their own person."
    )
    parser.add_argument("--people", type=int, default=8, help="number of people (default: 8)")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings (default: 3)")
    parser.add_argument("--epochs", type=float, default=3.0, help="epochs of each training (default: 3)")
    parser.add_argument(
        "--learned",
        type=int,
        nargs="+",
        default=[1600],
        help="training tokens of each person; of several amounts each is studied (default: 1600)",
    )
    parser.add_argument(
        "--text",
        choices=list(KINDS),
        default="packaging",
        help="whose change logs: those of Debian's packages, or of upstream projects (default: packaging)",
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
    options.learned = sorted(set(options.learned))
    if options.people < 2 or options.seeds < 1:
        parser.error("at least two people and one seed are needed")
    return options


if __name__ == "__main__":
    main()

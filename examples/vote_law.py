"""Measures how the accuracy of votes grows with the number of members, and fits laws to it.

Each member is a small adapter of the same base that learned the same task from its own half of the examples,
in its own order. All are asked the same questions, whose answer is one of a few choices. One table has each
member's probability of each choice; every way to choose and to combine members is computed from it.

    python examples/vote_law.py --to votes
    python examples/vote_law.py --tasks products --members 8 --steps 10

"random" is the majority of the likeliest answers of k random members, "sampled" the majority of answers that
each draws from its own distribution, and "mean" the likeliest choice of their geometric mean. "one, sampled"
is the control: k answers drawn from one member. "the best", "diverse" (a determinantal point process),
"information" and "Caruana" (whose vote is the mean of distributions) choose k members by the probes.

The task "sections" asks for the section of Debian packages that apt knows of; "products" needs no data.
``--to`` keeps each task's table, so that the same command resumes after an interruption, and writes the
result and a picture of each task, which takes ``pip install "populace[pictures]"``.
"""

import argparse
import json
import math
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import TimeRemainingColumn
from rich.table import Table as PrintedTable
from vote.findings import (
    BEST,
    DIVERSE,
    DRAWN,
    MEMBERS,
    ONE,
    Findings,
    Floats,
    Numbers,
    Table,
    Tables,
    findings_of,
    sizes_up_to,
)
from vote.kept import load_or_make
from vote.members import TRAINED_COST, MemberTrainer, Recipe
from vote.tasks import Amounts, Item, Task, available_packages, products, sections

from populace.base.prepare import prepare_base
from populace.cli.console import progress as progress_display
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.pictures.curves import curves_picture
from populace.pictures.figures import require_matplotlib
from populace.policies.diversity.fits import Fit
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably
from scripts.bench.report import machine

TASKS = ("products", "sections")
AMOUNTS = Amounts(taught=280, probes=120, asked=320)
"""The task "products" has just these 720 items."""

PUBLISHED = "published (30B, competition mathematics): 0.386 + 0.0172 ln k"
DRAWN_CURVES = (MEMBERS, DRAWN, ONE, BEST, DIVERSE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study; an interrupt exits with status 130."""
    try:
        run(_options(arguments))
    except KeyboardInterrupt:
        # Tables are written at once when they are complete, so an interrupted task begins again.
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Train and ask the members of each task, and print and write the findings."""
    if options.to is not None:
        require_matplotlib()
    recipe = Recipe(options.members, options.steps, options.rank, options.learning_rate)
    tasks = [_task(name, options.seed) for name in options.tasks]
    files = prepare_base(options.base, Settings.from_environment().cache)
    trainer = MemberTrainer(FrozenBase(files.directory, files.fingerprint), BaseTokenizer(files.directory))
    try:
        for task in tasks:
            trainer.choice_tokens(task)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    console = Console()
    findings: dict[str, Findings] = {}
    for task in tasks:
        what = f"{files.fingerprint} {recipe} {options.seed} {task}"
        tables = load_or_make(
            options.to, task.name, what, partial(tables_of, trainer, task, recipe, options.seed)
        )
        sizes = sizes_up_to(recipe.members)
        findings[task.name] = findings_of(tables, sizes, draws=options.draws, seed=options.seed)
        if not options.json:
            _print(console, task, findings[task.name])
    body = {
        "machine": machine(),
        "options": {
            name: value for name, value in vars(options).items() if name not in ("to", "json", "base")
        },
        "findings": {name: asdict(of_task) for name, of_task in findings.items()},
    }
    if options.to is not None:
        write_durably(options.to / "result.json", json.dumps(body, indent=1).encode())
        for name, of_task in findings.items():
            write_durably(options.to / f"vote-law-{name}.svg", picture(name, of_task).encode())
    if options.json:
        print(json.dumps(body))


def tables_of(trainer: MemberTrainer, task: Task, recipe: Recipe, seed: int) -> Tables:
    """Train the members of a task, and have the base and each member score the choices of all items."""
    read = [*task.probes, *task.asked]
    tokens = [
        sum(len(sequence.ids) for sequence in trainer.tokens_of(task, items)) for items in (task.taught, read)
    ]
    learned = recipe.members * recipe.steps * recipe.batch * tokens[0] / len(task.taught)
    with progress_display(TimeRemainingColumn()) as progress:
        bar = progress.add_task(task.name, total=TRAINED_COST * learned + recipe.members * tokens[1])
        each = TRAINED_COST * learned / (recipe.members * recipe.steps)
        rows: list[Floats] = []
        for adapter in trainer.train(
            task, recipe, seed, lambda members: progress.advance(bar, members * each)
        ):
            rows.append(trainer.read(task, adapter, read))
            progress.advance(bar, tokens[1])
    base_NK = trainer.read(task, None, task.asked)
    log_probs_MNK, probes = np.stack(rows), len(task.probes)
    return Tables(
        Table(base_NK[None], _labels(task.asked)),
        Table(log_probs_MNK[:, :probes], _labels(task.probes)),
        Table(log_probs_MNK[:, probes:], _labels(task.asked)),
    )


def picture(name: str, findings: Findings) -> str:
    """Return a chart of accuracies over the number of members on a logarithmic axis, as in the law."""
    curves = {curve: findings.curves[curve] for curve in DRAWN_CURVES}
    return curves_picture(
        f"Right answers of k members: {name}",
        curves | {"best member": [findings.best] * len(findings.sizes)},
        across="members k",
        places={str(size): math.log(size) for size in findings.sizes},
    )


def _task(name: str, seed: int) -> Task:
    if name == "products":
        return products(AMOUNTS, seed)
    try:
        return sections(AMOUNTS, seed, available_packages())
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise SystemExit(f"The task sections has no packages: {error}; try --tasks products.") from error


def _labels(items: Sequence[Item]) -> Numbers:
    return np.array([item.label for item in items])


def _print(console: Console, task: Task, findings: Findings) -> None:
    title = f"{task.name}: right answers of k members (by chance {1 / len(task.choices):.0%})"
    table = PrintedTable("k", *map(str, findings.sizes), title=title)
    for name, curve in findings.curves.items():
        table.add_row(name, *(f"{accuracy:.1%}" for accuracy in curve))
    console.print(table)
    console.print(
        f"Alone: the base {findings.base:.1%}, a member {findings.member:.1%}, the best by the probes "
        f"{findings.best:.1%}, the best by these questions {findings.luckiest:.1%}.",
        highlight=False,
    )
    gains = PrintedTable("the vote of all over", "gain", "95 %")
    for name, gain in findings.gains.items():
        gains.add_row(name, f"{gain.mean:+.1%}", f"{gain.low:+.1%} to {gain.high:+.1%}")
    console.print(gains)
    laws = PrintedTable("law", "of", "parameters (95 %)", "RMS residual", caption=PUBLISHED)
    for name, fits in findings.fits.items():
        for law, fit in fits.items():
            laws.add_row(law, name, _parameters(fit), f"{fit.residual:.2%}")
    console.print(laws)
    majority, pairs = findings.majority, findings.pairs
    console.print(
        f"Two members differ in {pairs.disagreement:.0%} and are both wrong in {pairs.double_fault:.0%} of "
        f"answers; their errors correlate by {pairs.error_correlation:.2f}, so that {findings.sizes[-1]} "
        f"members are worth {findings.effective:.1f} independent ones. The error of the vote "
        f"{majority.ensemble:.1%} = that of a member {majority.mean:.1%} − good diversity "
        f"{majority.good:.1%} + bad diversity {majority.bad:.1%}. The loss of the members' mean is "
        f"{findings.diversity:.3f} nats below a member's.",
        highlight=False,
    )


def _parameters(fit: Fit) -> str:
    return ", ".join(
        f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in fit.parameters.items()
    )


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return count


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: both")
    parser.add_argument("--members", type=_count, default=32, help="number of members (default: 32)")
    parser.add_argument(
        "--steps", type=_count, default=24, help="training steps, each of 16 examples (default: 24)"
    )
    parser.add_argument("--rank", type=_count, default=2, help="rank of each adapter (default: 2)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="default: 0.002")
    parser.add_argument(
        "--draws", type=_count, default=30, help="random choices of k members that are averaged (default: 30)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the whole study (default: 0)")
    parser.add_argument("--base", help="a name or folder of a base (default: the small one)")
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="write tables, result and pictures to this folder"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

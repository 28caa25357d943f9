"""Do many members answer better than one, and by which law? The same base, adapted many times.

Each member is a small adapter that learned the same task from its own half of the examples, in its own order.
All are asked the same questions, whose answer is one of a few choices, and what each makes of every choice is
kept in one table; who answers, how they are combined and what is compared is counted from that.

    python examples/vote_law.py --to votes
    python examples/vote_law.py --tasks products --members 8 --steps 10

"random" is the majority of k members' likeliest answers, "sampled" that of an answer that each draws by its
own distribution, and "mean" the likeliest choice of their geometric mean. "one, sampled" is the control: k
answers that one member draws. "the best", "diverse" (a determinantal point process), "information" and
"Caruana" (the mean of distributions) choose k members by the probes.

The task "sections" asks for the section of Debian packages that apt knows of; "products" needs nothing.
``--to`` keeps each task's table, so that the same command goes on after an interruption, and writes the
result and a picture of each task.
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
from vote.kept import kept_or_made
from vote.members import TRAINED_COST, Classroom, Recipe
from vote.tasks import Amounts, Item, Task, available_packages, products, sections

from populace.base.prepare import prepare_base
from populace.bench.report import machine
from populace.cli.console import progress as progress_display
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.pictures.curves import curves_picture
from populace.policies.diversity.fits import Fit
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably

TASKS = ("products", "sections")
AMOUNTS = Amounts(taught=280, probes=120, asked=320)
"""All 720 products."""

PUBLISHED = "published (30B, competition mathematics): 0.386 + 0.0172 ln k"
PICTURED = (MEMBERS, DRAWN, ONE, BEST, DIVERSE)


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        run(_options(arguments))
    except KeyboardInterrupt:
        # A table is whole or is not there: its task begins again.
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Train and ask the members of each task, and say what was found."""
    recipe = Recipe(options.members, options.steps, options.rank, options.learning_rate)
    tasks = [_task(name, options.seed) for name in options.tasks]
    files = prepare_base(options.base, Settings.from_environment().cache)
    classroom = Classroom(FrozenBase(files.directory, files.fingerprint), BaseTokenizer(files.directory))
    try:
        for task in tasks:
            classroom.choice_tokens(task)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    console = Console()
    found: dict[str, Findings] = {}
    for task in tasks:
        what = f"{files.fingerprint} {recipe} {options.seed} {task}"
        tables = kept_or_made(
            options.to, task.name, what, partial(tables_of, classroom, task, recipe, options.seed)
        )
        sizes = sizes_up_to(recipe.members)
        found[task.name] = findings_of(tables, sizes, draws=options.draws, seed=options.seed)
        if not options.json:
            _tell(console, task, found[task.name])
    body = {
        "machine": machine(),
        "options": {
            name: value for name, value in vars(options).items() if name not in ("to", "json", "base")
        },
        "findings": {name: asdict(one) for name, one in found.items()},
    }
    if options.to is not None:
        write_durably(options.to / "result.json", json.dumps(body, indent=1).encode())
        for name, one in found.items():
            write_durably(options.to / f"vote-law-{name}.svg", picture(name, one).encode())
    if options.json:
        print(json.dumps(body))


def tables_of(classroom: Classroom, task: Task, recipe: Recipe, seed: int) -> Tables:
    """Train the members of a task and ask each once."""
    read = [*task.probes, *task.asked]
    tokens = [sum(len(one.ids) for one in classroom.tokens_of(task, items)) for items in (task.taught, read)]
    learned = recipe.members * recipe.steps * recipe.batch * tokens[0] / len(task.taught)
    with progress_display(TimeRemainingColumn()) as progress:
        bar = progress.add_task(task.name, total=TRAINED_COST * learned + recipe.members * tokens[1])
        each = TRAINED_COST * learned / (recipe.members * recipe.steps)
        rows: list[Floats] = []
        for adapter in classroom.train(
            task, recipe, seed, lambda members: progress.advance(bar, members * each)
        ):
            rows.append(classroom.read(task, adapter, read))
            progress.advance(bar, tokens[1])
    base_NK = classroom.read(task, None, task.asked)
    log_probs_MNK, probes = np.stack(rows), len(task.probes)
    return Tables(
        Table(base_NK[None], _labels(task.asked)),
        Table(log_probs_MNK[:, :probes], _labels(task.probes)),
        Table(log_probs_MNK[:, probes:], _labels(task.asked)),
    )


def picture(name: str, found: Findings) -> str:
    """Draw accuracy against the number of members, whose logarithm is what the law is of."""
    curves = {curve: found.curves[curve] for curve in PICTURED}
    return curves_picture(
        f"Right answers of k members: {name}",
        curves | {"best member": [found.best] * len(found.sizes)},
        across="members k",
        places={str(size): math.log(size) for size in found.sizes},
    )


def _task(name: str, seed: int) -> Task:
    if name == "products":
        return products(AMOUNTS, seed)
    try:
        return sections(AMOUNTS, seed, available_packages())
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise SystemExit(f"no packages to ask for: {error}; try --tasks products") from error


def _labels(items: Sequence[Item]) -> Numbers:
    return np.array([item.label for item in items])


def _tell(console: Console, task: Task, found: Findings) -> None:
    title = f"{task.name}: right answers of k members (by chance {1 / len(task.choices):.0%})"
    table = PrintedTable("k", *map(str, found.sizes), title=title)
    for name, curve in found.curves.items():
        table.add_row(name, *(f"{one:.1%}" for one in curve))
    console.print(table)
    console.print(
        f"Alone: the base {found.base:.1%}, a member {found.member:.1%}, the best by the probes "
        f"{found.best:.1%}, the luckiest {found.luckiest:.1%}.",
        highlight=False,
    )
    gains = PrintedTable("the vote of all against", "gain", "95 %")
    for name, gain in found.gains.items():
        gains.add_row(name, f"{gain.mean:+.1%}", f"{gain.low:+.1%} to {gain.high:+.1%}")
    console.print(gains)
    laws = PrintedTable("law", "of", "parameters (95 %)", "misses by", caption=PUBLISHED)
    for name, fits in found.fits.items():
        for law, fit in fits.items():
            laws.add_row(law, name, _parameters(fit), f"{fit.residual:.2%}")
    console.print(laws)
    majority = found.majority
    console.print(
        f"Two members differ in {found.pairs.disagreement:.0%} and are both wrong in "
        f"{found.pairs.double_fault:.0%} of answers; their errors correlate by "
        f"{found.pairs.error_correlation:.2f}, so that {found.sizes[-1]} members are worth "
        f"{found.effective:.1f} independent ones. Error of the vote {majority.ensemble:.1%} = of a member "
        f"{majority.mean:.1%} − good diversity {majority.good:.1%} + bad {majority.bad:.1%}. Their mean's "
        f"loss is {found.diversity:.3f} nats below a member's.",
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
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--members", type=_count, default=32)
    parser.add_argument("--steps", type=_count, default=24, help="of training, each of 16 examples")
    parser.add_argument("--rank", type=_count, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--draws", type=_count, default=30, help="random choices of k members")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", help="a name or folder of a base (default: the small one)")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="keep tables, result and pictures there")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

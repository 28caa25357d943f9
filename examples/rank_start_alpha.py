"""Measures the defaults of an adapter: its rank, how it begins, and how alpha goes with the rank.

The task is two-digit sums and products, of which the base gets next to none right. There are three parts:

* supervised: each rank and start learns from right answers;
* reward: each learns from rewards of its own replies (GRPO), on an adapter that was taught until a quarter of
  its answers is right, because replies of which none is right teach nothing;
* alpha: three rules for alpha, each at several ranks and learning rates, supervised and with a uniform start.

Each training is measured as it is served: the loss of held-out answers, the share of greedy replies that
are exactly the answer, and the KL on general text from what it began on. One that ends with a higher loss or,
with rewards, with fewer right replies than it began with has collapsed.

    python examples/rank_start_alpha.py --json defaults.json --svg defaults.svg
    python examples/rank_start_alpha.py --part reward --ranks 1 2 --json defaults.json
    python examples/rank_start_alpha.py --few

``--json`` keeps the cells that are finished, so that the same command goes on after an interruption, and
another part or more ranks and seeds add to them; a file beside it has what cells with rewards begin on.
``--few`` is another, small study, which shows that all of it works and decides nothing.
"""

import argparse
import itertools
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from defaults import training
from defaults.cells import FEW, FULL, METHOD_OF, PARTS, Cell, Grid, Method, Part, cells_of, shared
from defaults.findings import Finding, RuleFinding, findings_of, rules_of, steadiest
from defaults.kept import Kept, Row
from defaults.picture import picture
from defaults.reading import Reader
from defaults.tables import Printed, best_rates, conclusion, losses, outcomes, steadiness
from defaults.training import TOGETHER, Recipe, Trainings
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from populace.actors.engine import OwnedEngine
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.files import BaseModelFiles
from populace.base.prepare import prepare_base
from populace.cli.console import counted
from populace.cli.console import progress as progress_display
from populace.engines.in_process import start_in_process
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import engine_sampler
from populace.pictures.figures import require_matplotlib
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably
from populace.storage.revisions import RevisionFiles
from scripts.bench.report import machine

CONTEXT_TOKENS = 128
"""The longest question has 30 tokens, and its reply six."""

TITLES: Mapping[Part, str] = {
    "supervised": "Learned from right answers",
    "reward": "Learned from rewards",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study; an interrupt exits with status 130."""
    try:
        run(_options(arguments))
    except KeyboardInterrupt:
        # Cells are written when their group is complete, so an interrupted group begins again.
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Train and measure the cells that are missing, and print and draw what all of them say."""
    if options.svg is not None:
        require_matplotlib()
    enter_quiet_environment()
    base = prepare_base(options.base, Settings.from_environment().cache)
    grid, recipe = _sizes(options)
    kept = Kept(options.json, f"{base.fingerprint} {recipe} {training.ROUND} {training.PROMPTS}")
    kept.about = {"machine": machine(), "recipe": recipe._asdict()}
    parts: list[Part] = [options.part] if options.part is not None else list(PARTS)
    planned: dict[Part, list[Cell]] = {part: cells_of(part, grid, options.learning_rate) for part in parts}
    missing = kept.missing(list(dict.fromkeys(itertools.chain(*planned.values()))))
    if missing:
        with progress_display(TimeRemainingColumn()) as progress:
            Runner(base, recipe, kept, missing, progress).run()
    report(options, kept, planned)


class Runner:
    """Runs the groups of cells that are missing, and says after each how long the others will take."""

    def __init__(
        self, base: BaseModelFiles, recipe: Recipe, kept: Kept, cells: Sequence[Cell], progress: Progress
    ) -> None:
        self._files = base
        self._kept = kept
        self._cells = cells
        self._progress = progress
        self._bar = progress.add_task("loading the base")
        self._base = FrozenBase(base.directory, base.fingerprint)
        self._trainings = Trainings(self._base, BaseTokenizer(base.directory), recipe, self._read)
        self._left = self._trainings.cost(cells)
        self._trained, self._seconds, self._finished = 0.0, 0.0, 0
        is_taught = kept.taught_path is not None and kept.taught_path.exists()
        teaches = not is_taught and any(cell.method == "rl" for cell in cells)
        progress.update(self._bar, total=self._left + teaches * self._trainings.teaching_cost)

    def run(self) -> None:
        """Train all cells: the supervised ones first, since they need no engine."""
        supervised = [cell for cell in self._cells if cell.method == "sft"]
        rewarded = [cell for cell in self._cells if cell.method == "rl"]
        if supervised:
            reader = self._reader("sft", None)
            self._groups(supervised, lambda group: self._trainings.supervised(group, reader))
        if rewarded:
            self._run_rewarded(rewarded)

    def _run_rewarded(self, cells: Sequence[Cell]) -> None:
        """Train on the taught adapter, with an engine for each rank: one for small ranks samples faster."""
        # SIGTERM is handled as Ctrl-C, which also ends the engine's process.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._progress.update(self._bar, description="what rewards begin on is taught")
        lower = self._trainings.taught(self._kept.taught_path)
        reader = self._reader("rl", lower.adapter)
        self._say(f"Cells with rewards begin with {reader.began.right:.0%} right answers.")
        for _, of_rank in itertools.groupby(cells, key=lambda cell: cell.rank):
            same_rank = list(of_rank)
            rank_max = self._trainings.served_rank(same_rank, lower)

            async def start(rank_max: int = rank_max) -> OwnedEngine:
                return await start_in_process(self._files, context_tokens=CONTEXT_TOKENS, rank_max=rank_max)

            with (
                tempfile.TemporaryDirectory(prefix="rank-start-alpha-") as folder,
                engine_sampler(start, RevisionFiles(Path(folder))) as sampler,
            ):

                def train(group: Sequence[Cell]) -> list[Row]:
                    return self._trainings.rewarded(group, reader, lower, sampler)

                self._groups(same_rank, train)

    def _reader(self, method: Method, began: TrainableAdapter | None) -> Reader:
        """Make a reader; how long its first reading takes says for how long all cells are trained."""
        self._progress.update(self._bar, description="what the cells begin on is read")
        started = time.monotonic()
        reader = self._trainings.reader(began)
        self._kept.begin(method, reader.began)
        if not self._seconds:
            minutes = (time.monotonic() - started) / (2 * reader.tokens) * self._left / 60
            self._say(f"{counted(len(self._cells), 'cell')} to train: roughly {minutes:.0f} minutes")
        return reader

    def _groups(self, cells: Sequence[Cell], train: Callable[[Sequence[Cell]], list[Row]]) -> None:
        for group in shared(cells, TOGETHER[cells[0].method]):
            first = group[0]
            what = f"{first.method} rank {first.rank} {first.start}"
            self._progress.update(self._bar, description=what)
            started = time.monotonic()
            rows = train(group)
            self._seconds += time.monotonic() - started
            self._trained += self._trainings.cost(group)
            self._kept.add(rows)
            self._finished += len(rows)
            loss, right = (fmean(values) for values in zip(*map(_measured, rows), strict=True))
            self._say(
                f"{what}, {counted(len(rows), 'cell')}: loss {loss:.3f}, {right:.1%} right; "
                f"{self._finished} of {len(self._cells)} are done, {self._minutes_left():.0f} minutes left"
            )

    def _minutes_left(self) -> float:
        return (self._left - self._trained) * self._seconds / self._trained / 60

    def _read(self, tokens: float) -> None:
        self._progress.advance(self._bar, tokens)

    def _say(self, line: str) -> None:
        self._progress.console.print(line, highlight=False)


def report(options: argparse.Namespace, kept: Kept, planned: dict[Part, list[Cell]]) -> None:
    """Print the tables of the planned parts, and draw them with ``--svg``."""
    console = Console()
    found: dict[Method, list[Finding]] = {}
    rules: list[RuleFinding] = []
    for part, cells in planned.items():
        rows = [kept.rows[cell] for cell in cells]
        if part == "alpha":
            rules = rules_of(rows)
        else:
            found[METHOD_OF[part]] = findings_of(rows, kept.began)
        for table in _tables(part, rows, kept, found, rules):
            _print(console, table)
        if part == "reward":
            compared = steadiest(rows, kept.began)
            console.print(conclusion(kept.began["rl"], compared), highlight=False)
    if options.svg is not None:
        write_durably(options.svg, picture(kept.began, found, rules).encode())


def _tables(
    part: Part, rows: Sequence[Row], kept: Kept, found: dict[Method, list[Finding]], rules: list[RuleFinding]
) -> Iterator[Printed]:
    if part == "alpha":
        yield from map(losses, rules)
        yield best_rates(rules)
        return
    method = METHOD_OF[part]
    yield outcomes(TITLES[part], kept.began[method], found[method])
    yield steadiness(f"{TITLES[part]}: starts, at the ranks that all have", steadiest(rows, kept.began))


def _print(console: Console, printed: Printed) -> None:
    table = Table(*printed.columns, title=printed.title)
    for row in printed.rows:
        table.add_row(*row)
    console.print(table)


def _measured(row: Row) -> tuple[float, float]:
    return row.score.loss, row.score.right


def _sizes(options: argparse.Namespace) -> tuple[Grid, Recipe]:
    """Return the values to combine, with those that were asked for, and what each cell is taught."""
    grid, recipe = (FEW, training.FEW) if options.few else (FULL, training.FULL)
    if options.ranks is not None:
        ranks = tuple(sorted(set(options.ranks)))
        grid = grid._replace(ranks=ranks, alpha_ranks=ranks)
    if options.seeds is not None:
        grid = grid._replace(seeds=options.seeds, alpha_seeds=options.seeds)
    return grid, recipe


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
    parser.add_argument("--part", choices=PARTS, help="run one part (default: all)")
    parser.add_argument("--few", action="store_true", help="a few small cells, in less than five minutes")
    parser.add_argument("--ranks", type=_count, nargs="+", help="ranks of every part (default: 1 to 64)")
    parser.add_argument(
        "--seeds", type=_count, help="trainings of each cell (default: 5, and 2 in the part alpha)"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=5e-4, help="of the first two parts (default: 0.0005)"
    )
    parser.add_argument("--base", help="a name or folder of a base (default: the small one)")
    parser.add_argument("--json", type=Path, help="keep the measured cells in this file, and go on with it")
    parser.add_argument("--svg", type=Path, help="draw the findings to this SVG file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

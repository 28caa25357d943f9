"""How much fits into an adapter: lists of invented items are taught until they are said, or are too long.

Each item of a list is taught by one question, for its position ("What is item 17 of my list?") or its
neighbour ("What comes after drounzut in my list?"). Adapters of rank 1 and 4 on attention, on the MLP and on
both learn lists of more and more tokens a parameter, as the trainer learns corrections but without anchors,
and are asked for every item greedily, in the base's type. What fits is the longest list of which 95 % of the
tokens are recalled; the knee is where recall falls below that, with a bootstrap interval over seeds, which
draw the items and the first matrices. It replaces the constant in ``policies/capacity.py``.

    python examples/how_much_fits.py --few
    nohup python examples/how_much_fits.py --json fits.json --svg fits.svg &

The whole takes hours; it says how many at most. What is finished stays in the ``--json`` file, and the same
command goes on from there. Words come from a seeded rule, and nothing is downloaded but the base.
"""

import argparse
import json
import math
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capacity.findings import Fits, Measured, fits_of, shares_by_load
from capacity.lists import KINDS, Cell, Chain, ListPlan, Recipe, learn
from rich.console import Console
from rich.table import Table

from populace.actors.training_options import TrainingOptions
from populace.base.prepare import prepare_base
from populace.engines.prompts import BaseTokenizer
from populace.learning.corrections import PASSES_MAX
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.pictures.curves import curves_picture
from populace.pictures.figures import require_matplotlib
from populace.policies.capacity import PUBLISHED_BAND
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings
from populace.storage.records.files import write_durably
from scripts.bench.report import machine

LOADS = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
"""Tokens a parameter of the lists of each shape."""

FEW: Mapping[str, Any] = {
    "kinds": ["attention", "mlp"],
    "ranks": [1],
    "loads": [5e-4, 1e-3],
    "seeds": 1,
    "passes": 20,
}
DEFAULTS = TrainingOptions()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study; an interrupt exits with status 130."""
    # SIGTERM is handled as Ctrl-C: what is finished is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(_options(arguments))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Learn the lists that are not kept yet, and print and write the findings."""
    if options.svg is not None:
        require_matplotlib()
    enter_quiet_environment()
    console = Console()
    files = prepare_base(options.base, Settings.from_environment().cache)
    base = FrozenBase(files.directory, files.fingerprint, device=options.device)
    encoder = ExampleEncoder(BaseTokenizer(files.directory), files.context_tokens)
    recipe = Recipe(options.batch, options.learning_rate, options.passes)
    kept = _Kept(options.json, {"base": files.fingerprint, **recipe._asdict()})
    shapes = [(kind, rank) for rank in sorted(options.ranks) for kind in options.kinds]
    loads = sorted(set(options.loads))
    chains = [
        Chain(
            [ListPlan(base, encoder, Cell(kind, rank, seed, load), recipe) for load in loads],
            kept.measured,
        )
        for kind, rank in shapes
        for seed in range(options.seeds)
    ]
    estimate = _Estimate(sum(chain.work for chain in chains))

    def done(measured: Measured) -> None:
        kept.add(measured)
        console.print(f"{_said(measured)}; {estimate.left}", highlight=False, soft_wrap=True)

    learn(base, chains, worked=estimate.worked, done=done)
    asked = [
        Cell(kind, rank, seed, load)
        for kind, rank in shapes
        for seed in range(options.seeds)
        for load in loads
    ]
    measured = [kept.measured[cell] for cell in asked if cell in kept.measured]
    fits = fits_of(measured)
    kept.write(fits)
    _print(console, measured, fits)
    if options.svg is not None:
        options.svg.write_text(picture(measured), encoding="utf-8")


def picture(measured: Sequence[Measured]) -> str:
    """Return a chart of the share of tokens that is recalled, by shape and tokens a parameter."""
    curves = {shape: list(by_load.values()) for shape, by_load in shares_by_load(measured).items()}
    loads = sorted({one.load for one in measured})
    places = {f"{load:g}": math.log10(load) for load in loads}
    return curves_picture(
        "Share of the tokens that is recalled", curves, across="tokens taught a parameter", places=places
    )


class _Estimate:
    """How much is left to do, and how long that takes at most at the speed so far."""

    def __init__(self, work: float) -> None:
        self._left = work
        self._done = 0.0
        self._began = time.monotonic()

    def worked(self, work: float) -> None:
        """Count what was done, and what need not be done any more."""
        self._left -= work
        self._done += work

    @property
    def left(self) -> str:
        minutes = (time.monotonic() - self._began) * max(0.0, self._left) / max(1.0, self._done) / 60
        return f"at most {minutes / 60:.1f} h left" if minutes > 90 else f"at most {minutes:.0f} min left"


class _Kept:
    """The results in a file, of one base and recipe; without a path they are kept in memory alone."""

    def __init__(self, path: Path | None, study: Mapping[str, Any]) -> None:
        """Read the file, if it is there. Raises ``SystemExit`` if it is of another study."""
        self._path = path
        self._study = dict(study)
        self.measured: dict[Cell, Measured] = {}
        if path is not None and path.exists():
            content = json.loads(path.read_bytes())
            if content["study"] != self._study:
                raise SystemExit(f"{path} is of another study: its base or its options differ.")
            for row in content["measured"]:
                self._take(Measured(**row))

    def add(self, measured: Measured) -> None:
        """Keep a result, in the file as well."""
        self._take(measured)
        self.write()

    def write(self, fits: Sequence[Fits] = ()) -> None:
        """Write all results, and what was computed from them, if there is a path."""
        if self._path is None:
            return
        body = {
            "machine": machine(),
            "study": self._study,
            "measured": [measured._asdict() for measured in self.measured.values()],
            "fits": [row._asdict() | {"knee": row.knee._asdict()} for row in fits],
        }
        write_durably(self._path, json.dumps(body, indent=1).encode() + b"\n")

    def _take(self, measured: Measured) -> None:
        self.measured[Cell(measured.kind, measured.rank, measured.seed, measured.load)] = measured


def _said(measured: Measured) -> str:
    return (
        f"{measured.shape}, seed {measured.seed}: of {measured.tokens:,} tokens in {measured.items:,} items "
        f"{measured.share:.0%} are recalled after {measured.passes:.0f} passes ({measured.seconds:.0f} s)"
    )


def _print(console: Console, measured: Sequence[Measured], fits: Sequence[Fits]) -> None:
    loads = sorted({one.load for one in measured})
    recalled = Table("recalled of tokens a parameter:", *(f"{load:g}" for load in loads))
    for shape, by_load in shares_by_load(measured).items():
        recalled.add_row(shape, *(f"{by_load[load]:.0%}" if load in by_load else "" for load in loads))
    console.print(recalled)
    found = Table("adapter", "parameters", "tokens that fit", "recalled at most", "knee, tokens a parameter")
    for row in fits:
        knee = f"{row.knee.value:.2g} [{row.knee.low:.2g}, {row.knee.high:.2g}] {row.bound}".strip()
        found.add_row(row.name, *(_counted(value) for value in (row.parameters, row.fits, row.plateau)), knee)
    console.print(found)
    low, high = PUBLISHED_BAND
    seeds = len({one.seed for one in measured})
    console.print(
        f"{f'Intervals are 95 % over {seeds} seeds.' if seeds > 1 else 'One seed has no interval.'} "
        f"The published band is {low:g} to {high:g} tokens a parameter, for other bases and lists.",
        highlight=False,
        soft_wrap=True,
    )


def _counted(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How much fits into an adapter?")
    parser.add_argument("--few", action="store_true", help="two small shapes, in minutes")
    parser.add_argument(
        "--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="what is adapted"
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="tokens taught a parameter")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--passes", type=int, default=PASSES_MAX, help="over a list, at most")
    parser.add_argument("--batch", type=int, default=DEFAULTS.batch, help="items in a step")
    parser.add_argument("--learning-rate", type=float, default=DEFAULTS.learning_rate)
    parser.add_argument("--base", help="a directory of a base (default: the default base)")
    parser.add_argument("--device", default="cpu", help="where it computes, such as cuda")
    parser.add_argument("--json", type=Path, help="write every result to this file, and go on from it")
    parser.add_argument("--svg", type=Path, help="draw what is recalled into this file")
    few, _ = parser.parse_known_args(arguments)
    if few.few:
        parser.set_defaults(**FEW)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

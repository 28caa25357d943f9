"""The cells of ``rank_start_alpha.py``: which adapters are trained, and which of them share steps. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from populace.actors.training_options import Start
from populace.adapters.lora.shape import ALPHA

Method = Literal["sft", "rl"]
Part = Literal["supervised", "reward", "alpha"]
PARTS: tuple[Part, ...] = get_args(Part)
METHOD_OF: Mapping[Part, Method] = {"supervised": "sft", "reward": "rl", "alpha": "sft"}

MEETING_RANK = 16
"""All rules give the same alpha at this rank, where the scaling is 2."""

RULES: Mapping[str, Callable[[int], float]] = {
    "α ∝ √r, the default": lambda rank: ALPHA,
    "α constant": lambda rank: ALPHA * math.sqrt(MEETING_RANK / rank),
    "α ∝ r": lambda rank: ALPHA * math.sqrt(rank / MEETING_RANK),
}
"""How alpha depends on the rank r, named as for plain LoRA, whose scaling is α/r.

A rule returns Populace's alpha, which is scaled by 1/√r: the scalings are 8/√r, 32/r and 2. The first step of
gradient descent at rate η moves ΔW by η s² r (Mind Lab, "On the Scaling of PEFT", 2026, section 4.1.3), which
the first rule keeps, the second makes smaller with the rank and the third larger.
"""


class Cell(NamedTuple):
    """One training: the seed draws the first weights of a uniform start, and the order of the examples."""

    method: Method
    rank: int
    start: Start
    alpha: float
    rate: float
    seed: int


class Grid(NamedTuple):
    """The values that are combined. Above rank ``small`` only ``large_starts`` are tried.

    The part "alpha" has its own ranks, learning rates and seeds, and begins uniform.
    """

    ranks: tuple[int, ...]
    starts: tuple[Start, ...]
    large_starts: tuple[Start, ...]
    small: int
    seeds: int
    alpha_ranks: tuple[int, ...]
    alpha_rates: tuple[float, ...]
    alpha_seeds: int


FULL = Grid(
    ranks=(1, 2, 4, 8, 16, 32, 64),
    starts=("uniform", "orthogonal-tail", "olora-tail", "milora", "pissa"),
    large_starts=("uniform", "olora-tail"),
    small=4,
    seeds=5,
    alpha_ranks=(1, 4, 8, 16, 64),
    alpha_rates=(1.25e-4, 5e-4, 2e-3, 8e-3),
    alpha_seeds=2,
)
FEW = Grid(
    ranks=(1, 8),
    starts=("uniform", "olora-tail"),
    large_starts=("uniform",),
    small=4,
    seeds=1,
    alpha_ranks=(1, 16),
    alpha_rates=(5e-4, 2e-3),
    alpha_seeds=1,
)


def cells_of(part: Part, grid: Grid, rate: float) -> list[Cell]:
    """Return the cells of a part; ``rate`` is the learning rate of the parts that do not vary it.

    No cell is there twice: where two rules give the same alpha, they share its cells.
    """
    if part == "alpha":
        varied = [
            Cell("sft", rank, "uniform", rule(rank), each, seed)
            for rank in grid.alpha_ranks
            for rule in RULES.values()
            for each in grid.alpha_rates
            for seed in range(grid.alpha_seeds)
        ]
        return list(dict.fromkeys(varied))
    return [
        Cell(METHOD_OF[part], rank, start, ALPHA, rate, seed)
        for rank in grid.ranks
        for start in (grid.starts if rank <= grid.small else grid.large_starts)
        for seed in range(grid.seeds)
    ]


def shared(cells: Sequence[Cell], together: int) -> Iterator[list[Cell]]:
    """Yield groups of at most ``together`` cells that share steps: of one method, rank and start."""
    alike: dict[tuple[Method, int, Start], list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.method, cell.rank, cell.start), []).append(cell)
    for group in alike.values():
        yield from (group[first : first + together] for first in range(0, len(group), together))

"""What is computed from what ``how_much_fits.py`` measured: how much fits, and where the knee is."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from scripts.bench.intervals import Interval, bootstrap

RECALLED = 0.95
"""What was taught fits if this share of its tokens is recalled."""


class Measured(NamedTuple):
    """One adapter after its training.

    ``load`` is what was aimed at in tokens a parameter; ``tokens`` are those of the ``items`` of its list,
    and ``recalled`` those of the items that a greedy reply says. ``by_way`` counts these items by how they
    were asked for. ``passes`` over the list and ``read`` tokens are what its training took.
    """

    kind: str
    rank: int
    seed: int
    load: float
    parameters: int
    items: int
    tokens: int
    recalled: int
    by_way: Mapping[str, int]
    steps: int
    passes: float
    read: int
    seconds: float

    @property
    def shape(self) -> str:
        """The name of the adapter's shape."""
        return shape_name(self.kind, self.rank)

    @property
    def share(self) -> float:
        """The share of the tokens that is recalled."""
        return self.recalled / self.tokens


class Fits(NamedTuple):
    """How much fits into one shape, or into one kind of targets at any rank.

    ``fits`` are the most tokens of which ``RECALLED`` are recalled, ``plateau`` the most that are recalled of
    any list, both as means over seeds; None for several ranks. ``knee`` is in tokens a parameter, with an
    interval over seeds. ``bound`` is "above" if the longest lists still fitted with any seed, "below" if the
    shortest did not, else "".
    """

    name: str
    parameters: int | None
    fits: float | None
    plateau: float | None
    knee: Interval
    bound: str


class Knee(NamedTuple):
    """Where recall falls below ``RECALLED``, in tokens a parameter; see ``Fits`` for ``bound``."""

    load: float
    bound: str


def shape_name(kind: str, rank: int) -> str:
    """Return how a shape is called in tables."""
    return f"{kind}, rank {rank}"


def knee_of(lists: Sequence[Measured]) -> Knee:
    """Return the knee of one shape and seed, whose ``lists`` are of several sizes.

    Between the longest list before the first that is not recalled, and that one, the share is taken to fall
    in proportion to the logarithm of the tokens.
    """
    in_order = sorted(lists, key=lambda one: one.tokens)
    loads = [one.tokens / one.parameters for one in in_order]
    first = next((place for place, one in enumerate(in_order) if one.share < RECALLED), None)
    if first is None:
        return Knee(loads[-1], "above")
    if first == 0:
        return Knee(loads[0], "below")
    before, after = in_order[first - 1], in_order[first]
    part = (before.share - RECALLED) / (before.share - after.share)
    low, high = math.log(loads[first - 1]), math.log(loads[first])
    return Knee(math.exp(low + part * (high - low)), "")


def fits_of(measured: Sequence[Measured]) -> list[Fits]:
    """Return what fits into each shape, and by kind of targets, whose row is named after it alone."""
    by_shape: dict[str, list[Measured]] = {}
    by_kind: dict[str, list[Measured]] = {}
    for one in measured:
        by_shape.setdefault(one.shape, []).append(one)
        by_kind.setdefault(one.kind, []).append(one)
    rows = [_fits(name, lists) for name, lists in by_shape.items()]
    return rows + [_fits(kind, lists) for kind, lists in by_kind.items()]


def shares_by_load(measured: Sequence[Measured]) -> dict[str, dict[float, float]]:
    """Return the share that is recalled by shape and load: means over seeds."""
    shares: dict[str, dict[float, list[float]]] = {}
    for one in measured:
        shares.setdefault(one.shape, {}).setdefault(one.load, []).append(one.share)
    return {
        shape: {load: fmean(by_load[load]) for load in sorted(by_load)} for shape, by_load in shares.items()
    }


def _fits(name: str, lists: Sequence[Measured]) -> Fits:
    chains: dict[tuple[int, int], list[Measured]] = {}
    for one in lists:
        chains.setdefault((one.rank, one.seed), []).append(one)
    by_seed: dict[int, list[Knee]] = {}
    for (_, seed), chain in chains.items():
        by_seed.setdefault(seed, []).append(knee_of(chain))
    # A seed is one draw of the items and of the first matrices, whatever the rank.
    loads = [fmean(knee.load for knee in knees) for knees in by_seed.values()]
    bounds = {knee.bound for knees in by_seed.values() for knee in knees} - {""}
    is_one_shape = len({rank for rank, _ in chains}) == 1
    return Fits(
        name,
        lists[0].parameters if is_one_shape else None,
        fmean(_most_recalled(chain) for chain in chains.values()) if is_one_shape else None,
        fmean(max(one.recalled for one in chain) for chain in chains.values()) if is_one_shape else None,
        bootstrap(loads, fmean),
        " and ".join(sorted(bounds)),
    )


def _most_recalled(chain: Sequence[Measured]) -> int:
    """Return the tokens of the longest list of which enough is recalled, 0 if there is none."""
    return max((one.tokens for one in chain if one.share >= RECALLED), default=0)

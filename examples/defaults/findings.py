"""What the measured cells of ``rank_start_alpha.py`` say of ranks, starts and scalings. Pure.

Intervals are at 95 %: percentile bootstraps over seeds for means (Efron 1979), which are too narrow for as
few seeds as there are here, and Wilson's for shares of seeds.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from defaults.cells import RULES, Cell, Method
from defaults.kept import Row, Score

from populace.actors.training_options import Start
from scripts.bench.intervals import Interval, bootstrap, mean_of, share_of

Losses = Mapping[tuple[int, float], float]
"""A held-out loss for each rank and learning rate."""


class Spread(NamedTuple):
    """The best seed, the mean of all, and the worst seed."""

    best: float
    mean: Interval
    worst: float


class Finding(NamedTuple):
    """The seeds of one rank, start and learning rate; ``began`` is what they began on.

    ``collapsed`` is the share of seeds that ended worse than they began, see ``fell``. ``ended`` counts those
    that ended before their last step.
    """

    rank: int
    start: Start
    rate: float
    seeds: int
    loss: Spread
    right: Spread
    collapsed: Interval
    divergence: float
    ended: int


class Steadiness(NamedTuple):
    """A start's trainings at the ranks that every start has; ``worst`` is the least right share."""

    start: Start
    cells: int
    collapsed: Interval
    right: Interval
    worst: float


class RuleFinding(NamedTuple):
    """What a rule for alpha makes of the learning rate.

    ``losses`` are means over seeds. ``best_rates`` has the rate with the least loss at each rank, and
    ``spread`` is the largest of these over the smallest: 1 means that one rate is the best at every rank.
    ``one_rate`` is the rate with the least mean loss over the ranks, and ``given_up`` what that costs: the
    mean over the ranks of its loss above the best rate's.
    """

    rule: str
    losses: Losses
    best_rates: Mapping[int, float]
    spread: Interval
    one_rate: float
    given_up: Interval


def fell(row: Row, began: Score) -> bool:
    """Return whether a training ended worse than it began.

    One with rewards did if fewer greedy replies are right, a supervised one if the held-out loss is higher:
    the base gets next to nothing right, which cannot fall. A loss that is no number is worse than any.
    """
    if not row.score.loss < float("inf"):
        return True
    if row.cell.method == "rl":
        return row.score.right < began.right
    return row.score.loss > began.loss


def findings_of(rows: Sequence[Row], began: Mapping[Method, Score]) -> list[Finding]:
    """Return a finding for each rank, start and learning rate of the rows, in the order of the rows."""
    alike: dict[tuple[int, Start, float], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.cell.rank, row.cell.start, row.cell.rate), []).append(row)
    return [
        Finding(
            rank,
            start,
            rate,
            len(seeds),
            _spread([row.score.loss for row in seeds], less_is_better=True),
            _spread([row.score.right for row in seeds], less_is_better=False),
            share_of([fell(row, began[row.cell.method]) for row in seeds]),
            fmean(row.score.divergence for row in seeds),
            sum(bool(row.ended) for row in seeds),
        )
        for (rank, start, rate), seeds in alike.items()
    ]


def steadiest(rows: Sequence[Row], began: Mapping[Method, Score]) -> list[Steadiness]:
    """Return the starts, those that collapse least first, and of equal ones the one with the best worst seed.

    They are compared at the ranks that every start has; there may be none, and no start is returned then.
    """
    ranks: dict[Start, set[int]] = {}
    for row in rows:
        ranks.setdefault(row.cell.start, set()).add(row.cell.rank)
    common = set[int].intersection(*ranks.values()) if ranks else set[int]()
    if not common:
        return []
    compared = [
        _steadiness(
            start, [row for row in rows if row.cell.start == start and row.cell.rank in common], began
        )
        for start in ranks
    ]
    return sorted(compared, key=lambda found: (found.collapsed.value, -found.worst, -found.right.value))


def rules_of(rows: Sequence[Row]) -> list[RuleFinding]:
    """Return a finding for each rule of which every rank and learning rate of the rows was measured.

    Only seeds count that have all of them.
    """
    by_cell = {row.cell: row.score.loss for row in rows}
    ranks = sorted({cell.rank for cell in by_cell})
    rates = sorted({cell.rate for cell in by_cell})
    found: list[RuleFinding] = []
    for name, rule in RULES.items():
        of_seeds: list[Losses] = []
        for seed in sorted({cell.seed for cell in by_cell}):
            cells = {
                (rank, rate): Cell("sft", rank, "uniform", rule(rank), rate, seed)
                for rank in ranks
                for rate in rates
            }
            if all(cell in by_cell for cell in cells.values()):
                of_seeds.append({place: by_cell[cell] for place, cell in cells.items()})
        if of_seeds:
            found.append(_rule_finding(name, of_seeds))
    return found


def mean_losses(of_seeds: Sequence[Losses]) -> Losses:
    """Return the mean loss over seeds for each rank and learning rate."""
    return {place: fmean(losses[place] for losses in of_seeds) for place in of_seeds[0]}


def best_rates(losses: Losses) -> dict[int, float]:
    """Return the learning rate with the least loss for each rank."""
    ranks = sorted({rank for rank, _ in losses})
    return {
        rank: min((loss, rate) for (other, rate), loss in losses.items() if other == rank)[1]
        for rank in ranks
    }


def one_rate(losses: Losses) -> tuple[float, float]:
    """Return the rate with the least mean loss over the ranks, and that loss above the best rates' mean."""
    ranks, rates = sorted({rank for rank, _ in losses}), sorted({rate for _, rate in losses})
    means = {rate: fmean(losses[rank, rate] for rank in ranks) for rate in rates}
    best = fmean(losses[rank, rate] for rank, rate in best_rates(losses).items())
    rate = min(means, key=lambda rate: means[rate])
    return rate, means[rate] - best


def _rule_finding(name: str, of_seeds: Sequence[Losses]) -> RuleFinding:
    losses = mean_losses(of_seeds)

    def spread(drawn: Sequence[Losses]) -> float:
        rates = best_rates(mean_losses(drawn)).values()
        return max(rates) / min(rates)

    return RuleFinding(
        name,
        losses,
        best_rates(losses),
        bootstrap(of_seeds, spread),
        one_rate(losses)[0],
        bootstrap(of_seeds, lambda drawn: one_rate(mean_losses(drawn))[1]),
    )


def _steadiness(start: Start, rows: Sequence[Row], began: Mapping[Method, Score]) -> Steadiness:
    right = [row.score.right for row in rows]
    collapsed = share_of([fell(row, began[row.cell.method]) for row in rows])
    return Steadiness(start, len(rows), collapsed, mean_of(right), min(right))


def _spread(values: Sequence[float], *, less_is_better: bool) -> Spread:
    low, high = min(values), max(values)
    best, worst = (low, high) if less_is_better else (high, low)
    return Spread(best, mean_of(values), worst)

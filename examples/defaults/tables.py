"""What ``rank_start_alpha.py`` prints, as columns and rows of text, from its findings. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from defaults.findings import Finding, RuleFinding, Steadiness
from defaults.kept import Score

from scripts.bench.intervals import Interval


class Printed(NamedTuple):
    """A table: its title, the names of its columns, and its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def outcomes(title: str, began: Score, findings: Sequence[Finding]) -> Printed:
    """Return the outcome of each rank and start, of one learning rate, below what all of them began on."""
    columns = (
        "rank",
        "start",
        "seeds",
        "loss [95 %]",
        "best, worst",
        "right [95 %]",
        "best, worst",
        "collapsed [95 %]",
        "KL",
        "ended early",
    )
    first = ("", "before", "", f"{began.loss:.3f}", "", f"{began.right:.1%}", *[""] * 4)
    rows = [
        (
            str(found.rank),
            found.start,
            str(found.seeds),
            _number(found.loss.mean),
            f"{found.loss.best:.3f}, {found.loss.worst:.3f}",
            _share(found.right.mean),
            f"{found.right.best:.0%}, {found.right.worst:.0%}",
            _share(found.collapsed),
            f"{found.divergence:.3f}",
            str(found.ended or ""),
        )
        for found in findings
    ]
    return Printed(title, columns, [first, *rows])


def steadiness(title: str, compared: Sequence[Steadiness]) -> Printed:
    """Return the starts in their order."""
    columns = ("start", "trainings", "collapsed [95 %]", "right [95 %]", "worst")
    rows = [
        (found.start, str(found.cells), _share(found.collapsed), _share(found.right), f"{found.worst:.0%}")
        for found in compared
    ]
    return Printed(title, columns, rows)


def best_rates(rules: Sequence[RuleFinding]) -> Printed:
    """Return the best learning rate at each rank by rule, how far they spread, and what one rate costs."""
    ranks = sorted({rank for found in rules for rank in found.best_rates})
    columns = ("rule", *(f"rank {rank}" for rank in ranks), "spread [95 %]", "one rate", "costs [95 %]")
    rows = [
        (
            found.rule,
            *(f"{found.best_rates[rank]:g}" for rank in ranks),
            f"{found.spread.value:.3g} x [{found.spread.low:.3g}, {found.spread.high:.3g}]",
            f"{found.one_rate:g}",
            _number(found.given_up),
        )
        for found in rules
    ]
    return Printed("Best learning rate at each rank, by the held-out loss", columns, rows)


def losses(found: RuleFinding) -> Printed:
    """Return the mean held-out loss of a rule at each learning rate and rank."""
    ranks, rates = sorted({rank for rank, _ in found.losses}), sorted({rate for _, rate in found.losses})
    rows = [(f"{rate:g}", *(f"{found.losses[rank, rate]:.3f}" for rank in ranks)) for rate in rates]
    return Printed(f"Held-out loss: {found.rule}", ("rate", *(f"rank {rank}" for rank in ranks)), rows)


def conclusion(began: Score, compared: Sequence[Steadiness]) -> str:
    """Return what the starts, the steadiest first, say of which one to take for rewards."""
    if not began.right:
        return "Nothing was right before, so that no training could collapse."
    if len(compared) < 2:
        return "There are no ranks at which two starts can be compared."
    first, *others = compared
    told = f"{first.start} collapsed in {first.collapsed.value:.0%} of {first.cells} trainings, the fewest"
    alike = [found.start for found in others if found.collapsed.value == first.collapsed.value]
    if alike:
        told += f", as did {', '.join(alike)}, and its worst one is the best of these"
    near = [found.start for found in others if found.collapsed.low <= first.collapsed.high]
    if near:
        told += f"; the intervals of {', '.join(near)} overlap with its own, so that this is not settled"
    return f"{told}."


def _number(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _share(found: Interval) -> str:
    return f"{found.value:.1%} [{found.low:.0%}, {found.high:.0%}]"

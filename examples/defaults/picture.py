# pyright: reportUnknownMemberType=false
# matplotlib's functions are partly untyped.
"""The picture of ``rank_start_alpha.py``: outcomes by rank and start, and losses by learning rate, as SVG."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from defaults.cells import Method
from defaults.findings import Finding, RuleFinding, Spread
from defaults.kept import Score

from populace.pictures.figures import COLORS, GREY, svg

if TYPE_CHECKING:
    from populace.pictures.figures import Axes, Figure

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 360, 330, 4
SIDESTEP = 0.06
"""Starts of the same rank are drawn beside each other, at ranks that differ by this share."""

Draw = Callable[["Axes"], None]


def picture(
    began: Mapping[Method, Score],
    outcomes: Mapping[Method, Sequence[Finding]],
    rules: Sequence[RuleFinding],
) -> str:
    """Return the outcomes of each method, the losses of each rule for alpha, or what there is of both.

    At least one of them has to be there. Raises ``MatplotlibMissing``.
    """
    panels: list[Draw] = []
    for method, findings in outcomes.items():
        panels.append(partial(_draw_outcomes, method=method, began=began[method], findings=findings))
        panels.append(partial(_draw_divergence, method=method, findings=findings))
    panels += [partial(_draw_rule, found=found) for found in rules]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)

    def draw(figure: "Figure") -> None:
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for axes, panel in zip(
            grid, [*panels, *[_draw_nothing] * (rows * columns - len(panels))], strict=True
        ):
            panel(axes)

    return svg(columns * PANEL_WIDTH, rows * PANEL_HEIGHT, draw)


def _draw_outcomes(axes: "Axes", *, method: Method, began: Score, findings: Sequence[Finding]) -> None:
    """Draw the judged measure by rank: its mean, and a line from the worst seed to the best."""
    is_rl = method == "rl"
    for number, (start, of_start) in enumerate(_by_start(findings).items()):
        color = COLORS[1 + number % (len(COLORS) - 1)]
        spreads: list[Spread] = [found.right if is_rl else found.loss for found in of_start]
        ranks = [found.rank * (1 + SIDESTEP * number) for found in of_start]
        axes.plot(ranks, [spread.mean.value for spread in spreads], color=color, marker="o", label=start)
        low = [min(spread.best, spread.worst) for spread in spreads]
        high = [max(spread.best, spread.worst) for spread in spreads]
        axes.vlines(ranks, low, high, color, linewidth=1)
    if is_rl:
        # A supervised training begins so far above that its outcomes would be one line at this scale.
        axes.axhline(began.right, color=GREY, linestyle="--", label="before")
        axes.yaxis.set_major_formatter("{x:.0%}")
    what = "rewards: right answers" if is_rl else "supervised: held-out loss, nats a token"
    _finish(axes, findings, f"{what}\n(lines: worst to best seed)")


def _draw_divergence(axes: "Axes", *, method: Method, findings: Sequence[Finding]) -> None:
    for number, (start, of_start) in enumerate(_by_start(findings).items()):
        color = COLORS[1 + number % (len(COLORS) - 1)]
        ranks = [found.rank for found in of_start]
        axes.plot(ranks, [found.divergence for found in of_start], color=color, marker="o", label=start)
    what = "rewards" if method == "rl" else "supervised"
    _finish(axes, findings, f"{what}: KL on general text,\nnats a token")


def _finish(axes: "Axes", findings: Sequence[Finding], title: str) -> None:
    ranks = sorted({found.rank for found in findings})
    axes.set_title(title)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, list(map(str, ranks)))
    axes.set_xlabel("rank")
    axes.legend(fontsize=8)


def _draw_rule(axes: "Axes", *, found: RuleFinding) -> None:
    rates = sorted({rate for _, rate in found.losses})
    for number, rank in enumerate(found.best_rates):
        color = COLORS[1 + number % (len(COLORS) - 1)]
        of_rank = [found.losses[rank, rate] for rate in rates]
        axes.plot(rates, of_rank, color=color, marker="o", label=f"rank {rank}")
    axes.set_title(f"{found.rule}: held-out loss,\nbest rates spread {found.spread.value:.3g} x")
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlabel("learning rate")
    axes.legend(fontsize=8)


def _draw_nothing(axes: "Axes") -> None:
    axes.set_axis_off()


def _by_start(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    by_start: dict[str, list[Finding]] = {}
    for found in findings:
        by_start.setdefault(found.start, []).append(found)
    return by_start

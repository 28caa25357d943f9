# pyright: reportUnknownMemberType=false
# matplotlib's functions are partly untyped.
"""The picture of ``personal_style.py``: losses by adapter and writer, and gains over the base, as SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from populace.pictures.figures import svg

if TYPE_CHECKING:
    from populace.pictures.figures import Axes, Figure

WIDTH, HEIGHT = 1080, 520
PALENESS = 1.6
"""The scale of colours ends at this multiple of the largest difference: black is readable on all of them."""


class Bar(NamedTuple):
    """A gain over the base in nats per token, and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def picture(labels: Sequence[str], losses: Sequence[Sequence[float]], bars: Sequence[Bar]) -> str:
    """Return ``losses`` as a matrix beside a chart of the bars.

    ``losses[i][j]`` is the loss of person j's held-out text under person i's adapter, in nats per token.
    Raises ``MatplotlibMissing``.
    """

    def draw(figure: "Figure") -> None:
        matrix, gains = figure.subplots(1, 2, width_ratios=(5, 4))
        _draw_matrix(matrix, labels, np.array(losses))
        _draw_gains(gains, bars)

    return svg(WIDTH, HEIGHT, draw)


def _draw_matrix(axes: "Axes", labels: Sequence[str], losses_PP: NDArray[np.float64]) -> None:
    """Colour each cell by its difference from the mean of its column: of the same text, other adapters."""
    differences_PP = losses_PP - losses_PP.mean(0)
    strongest = PALENESS * (float(np.abs(differences_PP).max()) or 1.0)
    axes.imshow(differences_PP, cmap="bwr", vmin=-strongest, vmax=strongest)
    for (i, j), loss in np.ndenumerate(losses_PP):
        axes.text(j, i, f"{loss:.2f}", horizontalalignment="center", verticalalignment="center")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Held-out loss in nats per token (blue: below the column's mean)")
    axes.set_xlabel("writer of the text")
    axes.set_ylabel("person whose adapter reads it")


def _draw_gains(axes: "Axes", bars: Sequence[Bar]) -> None:
    rows = range(len(bars))
    axes.barh(rows, [bar.value for bar in bars], color="#7a9cc6", height=0.6)
    axes.hlines(rows, [bar.low for bar in bars], [bar.high for bar in bars], "black")
    for row, bar in enumerate(bars):
        axes.annotate(
            f"{bar.value:+.3f}",
            (max(0.0, bar.high), row),
            (5, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.axvline(0.0, color="black")
    axes.set_yticks(rows, [bar.name for bar in bars])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title("Gain over the base in nats per token")
    axes.set_xlabel("lines: 95 % intervals over people and seeds")

# pyright: reportUnknownMemberType=false
# matplotlib's functions are partly untyped.
"""A line chart of several curves at one scale, as SVG."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from populace.pictures.figures import COLORS, svg

if TYPE_CHECKING:
    from populace.pictures.figures import Figure

WIDTH, HEIGHT = 640, 340
TICKS_MAX = 8
BROAD_WIDTH, BROAD_OPACITY = 5.0, 0.35


def curves_picture(
    title: str,
    curves: Mapping[str, Sequence[float]],
    *,
    across: str = "step",
    broad: str | None = None,
    places: Mapping[str, float] | None = None,
) -> str:
    """Return a chart of each curve's values over its steps, with a legend of the curves' names.

    ``across`` is the label of the x axis. The curve named ``broad`` is drawn wide and pale, so that others
    on top of it can be seen. ``places`` maps each step's tick label to its x coordinate; without it steps
    are numbered from 1. Raises ``MatplotlibMissing``.
    """
    longest = max(map(len, curves.values()))
    places = places or {str(step + 1): float(step) for step in range(longest)}
    labels, x_of_step = list(places), list(places.values())
    ticks = range(0, longest, max(1, longest // TICKS_MAX))

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.set_prop_cycle(color=COLORS)
        for name, values in curves.items():
            width, opacity = (BROAD_WIDTH, BROAD_OPACITY) if name == broad else (1.5, 1.0)
            axes.plot(x_of_step[: len(values)], values, label=name, linewidth=width, alpha=opacity)
        axes.set_xticks([x_of_step[tick] for tick in ticks], [labels[tick] for tick in ticks])
        axes.set_title(title)
        axes.set_xlabel(across)
        axes.grid(axis="y", color="#dddddd")
        figure.legend(loc="outside right upper")

    return svg(WIDTH, HEIGHT, draw)

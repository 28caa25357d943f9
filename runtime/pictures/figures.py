# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# matplotlib's functions are partly untyped.
"""The only module that imports matplotlib, which the optional extra ``pictures`` installs."""

from collections.abc import Callable
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, Any

from populace.storage.records.errors import PopulaceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure

POINTS_PER_INCH = 72
"""matplotlib's SVG units are points; at this resolution a pixel of a figure is one of them."""

COLORS = ("#222222", "#3b6fb6", "#c8553d", "#4a8f5b", "#8a63a8", "#c99a2e", "#4f9da6", "#9a5b3b", "#6b6b6b")
GREY = "#666666"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.dpi": POINTS_PER_INCH,
    "font.size": 10,
    "legend.frameon": False,
    # Text stays text, which can be searched, and names are no formulas.
    "svg.fonttype": "none",
    "text.parse_math": False,
    # A fixed salt for the ids of clip paths, without which each run writes other bytes.
    "svg.hashsalt": "populace",
}
METADATA = dict.fromkeys(("Creator", "Date"))
"""Neither is written: both would change the bytes of an unchanged picture."""


class MatplotlibMissing(PopulaceError):
    """A chart was asked for, and matplotlib is not installed."""

    code = "matplotlib_missing"

    def __str__(self) -> str:
        return 'Charts are drawn by matplotlib, which is not installed: pip install "populace[pictures]".'


def require_matplotlib() -> None:
    """Raise ``MatplotlibMissing`` if there is none; call it before a measurement that is to be drawn."""
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as error:
        raise MatplotlibMissing() from error


def svg(width: float, height: float, draw: Callable[["Figure"], None]) -> str:
    """Return as SVG text what ``draw`` draws on an empty figure of ``width`` by ``height`` points.

    Equal calls return equal bytes with one version of matplotlib. Not for several threads at once, since
    the style is set globally meanwhile. Raises ``MatplotlibMissing``.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure((width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
        draw(figure)
        file = StringIO()
        figure.savefig(file, format="svg", metadata=METADATA)
    return file.getvalue()

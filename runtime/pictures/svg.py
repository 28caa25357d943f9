"""The few elements that pictures are made of, as text; lengths are in pixels from the upper left corner."""

from collections.abc import Iterable
from html import escape

INK, GREY = "#222222", "#666666"
COLORS = ("#3b6fb6", "#c8553d", "#4a8f5b", "#8a63a8", "#c99a2e", "#4f9da6", "#9a5b3b", "#6b6b6b")
"""That people can tell apart, for lines and marks."""


def document(width: float, height: float, parts: Iterable[str]) -> str:
    """A whole picture, on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        '<rect width="100%" height="100%" fill="#ffffff"/>' + "".join(parts) + "</svg>\n"
    )


def text(x: float, y: float, words: str, *, size: int = 11, color: str = INK, anchor: str = "start") -> str:
    """Words whose line begins, has its middle or ends at x: ``anchor`` is start, middle or end."""
    place = f'x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(words)}</text>"


def line(
    x: float,
    y: float,
    to_x: float,
    to_y: float,
    *,
    color: str = INK,
    width: float = 1.0,
    opacity: float = 1.0,
    dashes: str = "none",
) -> str:
    """A straight line; ``dashes`` are lengths of ink and of nothing in turn."""
    return (
        f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="{color}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}" stroke-dasharray="{dashes}"/>'
    )


def curve(
    points: Iterable[tuple[float, float]], *, color: str, width: float = 1.5, opacity: float = 1
) -> str:
    """A line through all points in turn."""
    through = " ".join(f"{x:g},{y:g}" for x, y in points)
    return (
        f'<polyline points="{through}" fill="none" stroke="{color}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}"/>'
    )


def box(x: float, y: float, width: float, height: float, *, fill: str, stroke: str = "none") -> str:
    """A filled rectangle."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} fill="{fill}" stroke="{stroke}"/>'


def blue_to_red(share: float) -> str:
    """The colour of a number: from blue at -1 over white at 0 to red at 1."""
    other = round(255 * (1 - min(abs(share), 1.0)))
    return f"#ff{other:02x}{other:02x}" if share >= 0 else f"#{other:02x}{other:02x}ff"

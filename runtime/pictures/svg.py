"""The SVG elements of the memory grid, as text. Lengths are in pixels from the upper left corner."""

from collections.abc import Iterable
from html import escape

INK, GREY = "#222222", "#666666"


def document(width: float, height: float, parts: Iterable[str]) -> str:
    """Return a whole picture on a white ground."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        '<rect width="100%" height="100%" fill="#ffffff"/>' + "".join(parts) + "</svg>\n"
    )


def text(x: float, y: float, words: str, *, size: int = 11, color: str = INK) -> str:
    """Return a line of text whose baseline begins at x, y; ``words`` are escaped."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, *, fill: str, stroke: str = "none") -> str:
    """Return a rectangle whose upper left corner is at x, y."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} fill="{fill}" stroke="{stroke}"/>'


def blue_to_red(share: float) -> str:
    """Return the colour of a number: blue at -1, white at 0, red at 1, and what lies between."""
    other = round(255 * (1 - min(abs(share), 1.0)))
    return f"#ff{other:02x}{other:02x}" if share >= 0 else f"#{other:02x}{other:02x}ff"

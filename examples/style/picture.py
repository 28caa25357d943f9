"""The picture of ``personal_style.py``: whose adapter predicts whom, and what each help is worth, as SVG."""

from collections.abc import Sequence
from html import escape
from statistics import fmean
from typing import NamedTuple

CELL = 52
LABEL = 64
MARGIN = 20
HEAD = 58
BAR = 26
BAR_GAP = 14
BARS_WIDTH = 300
BAR_LABEL = 175
TITLE_WIDTH = 500


class Bar(NamedTuple):
    """A gain over the base in nats a token, and the interval that it lies in."""

    name: str
    value: float
    low: float
    high: float


def picture(labels: Sequence[str], losses: Sequence[Sequence[float]], bars: Sequence[Bar]) -> str:
    """Draw ``losses[i][j]``, of person j's held-out text under adapter i, and beside it the bars."""
    side = CELL * len(labels)
    left = max(2 * MARGIN + LABEL + side, TITLE_WIDTH) + MARGIN
    width = left + BAR_LABEL + BARS_WIDTH + MARGIN
    height = HEAD + LABEL + max(side, len(bars) * (BAR + BAR_GAP) + 40) + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        '<rect width="100%" height="100%" fill="#ffffff"/>'
        + _text(MARGIN, 22, "Held-out loss in nats a token: whose text (across), by whose adapter (down)", 13)
        + _text(MARGIN, 40, "colour: against the mean of the column; blue is better", 10, "#666666")
        + _text(left, 22, "Gain over the base in nats a token", 13)
        + _text(left, 40, "lines: 95 % intervals over people and seeds", 10, "#666666")
        + _matrix(labels, losses, MARGIN + LABEL, HEAD + LABEL / 2)
        + _bars(bars, left, HEAD + LABEL / 2)
        + "</svg>\n"
    )


def _matrix(labels: Sequence[str], losses: Sequence[Sequence[float]], left: float, top: float) -> str:
    means = [fmean(column) for column in zip(*losses, strict=True)]
    shifts = [[loss - mean for loss, mean in zip(row, means, strict=True)] for row in losses]
    strongest = max(abs(shift) for row in shifts for shift in row) or 1.0
    drawn: list[str] = []
    for i, (label, row) in enumerate(zip(labels, losses, strict=True)):
        middle = top + i * CELL + CELL / 2 + 4
        drawn.append(_text(left - 8, middle, label, 11, anchor="end"))
        drawn.append(_text(left + i * CELL + CELL / 2, top - 8, label, 11, anchor="middle"))
        for j, loss in enumerate(row):
            x, y = left + j * CELL, top + i * CELL
            drawn.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" '
                f'fill="{_colour(shifts[i][j] / strongest)}"/>'
            )
            drawn.append(_text(x + CELL / 2 - 1, middle, f"{loss:.2f}", 11, anchor="middle"))
    return "".join(drawn)


def _bars(bars: Sequence[Bar], left: float, top: float) -> str:
    lowest = min(0.0, *(bar.low for bar in bars))
    highest = max(0.0, *(bar.high for bar in bars))
    scale = BARS_WIDTH / ((highest - lowest) or 1.0)

    def at(value: float) -> float:
        return left + BAR_LABEL + (value - lowest) * scale

    drawn: list[str] = []
    for number, bar in enumerate(bars):
        y = top + number * (BAR + BAR_GAP)
        middle = y + BAR / 2
        begin, end = sorted((at(0.0), at(bar.value)))
        drawn.append(_text(left + BAR_LABEL - 8, middle + 4, bar.name, 11, anchor="end"))
        drawn.append(
            f'<rect x="{begin:.1f}" y="{y}" width="{end - begin:.1f}" height="{BAR}" fill="#7a9cc6"/>'
        )
        drawn.append(_line(at(bar.low), middle, at(bar.high), middle))
        drawn.append(_text(begin + 4, y - 2, f"{bar.value:+.3f}", 9, "#444444"))
    bottom = top + len(bars) * (BAR + BAR_GAP)
    drawn.append(_line(at(0.0), top - 6, at(0.0), bottom))
    return "".join(drawn)


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="#222222" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, size: int, colour: str = "#222222", *, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def _colour(share: float) -> str:
    """From blue at -1 over white at 0 to red at 1."""
    other = round(255 * (1 - min(abs(share), 1.0) * 0.75))
    return f"#ff{other:02x}{other:02x}" if share >= 0 else f"#{other:02x}{other:02x}ff"

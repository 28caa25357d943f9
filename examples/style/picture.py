"""The picture of ``personal_style.py``: whose adapter predicts whom, and what each help is worth, as SVG."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from populace.pictures.svg import GREY, blue_to_red, box, document, line, text

CELL = 52
LABEL = 64
MARGIN = 20
HEAD = 58
BAR = 26
BAR_GAP = 14
BARS_WIDTH = 300
BAR_LABEL = 175
TITLE_WIDTH = 500
PALER = 0.75
"""So that black can be read on the strongest colour."""


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
    told = (
        text(
            MARGIN, 22, "Held-out loss in nats a token: whose text (across), by whose adapter (down)", size=13
        ),
        text(MARGIN, 40, "colour: against the mean of the column; blue is better", size=10, color=GREY),
        text(left, 22, "Gain over the base in nats a token", size=13),
        text(left, 40, "lines: 95 % intervals over people and seeds", size=10, color=GREY),
    )
    top = HEAD + LABEL / 2
    return document(
        width, height, [*told, *_matrix(labels, losses, MARGIN + LABEL, top), *_bars(bars, left, top)]
    )


def _matrix(labels: Sequence[str], losses: Sequence[Sequence[float]], left: float, top: float) -> list[str]:
    means = [fmean(column) for column in zip(*losses, strict=True)]
    shifts = [[loss - mean for loss, mean in zip(row, means, strict=True)] for row in losses]
    strongest = max(abs(shift) for row in shifts for shift in row) or 1.0
    drawn: list[str] = []
    for i, (label, row) in enumerate(zip(labels, losses, strict=True)):
        middle = top + i * CELL + CELL / 2 + 4
        drawn.append(text(left - 8, middle, label, anchor="end"))
        drawn.append(text(left + i * CELL + CELL / 2, top - 8, label, anchor="middle"))
        for j, loss in enumerate(row):
            x, y = left + j * CELL, top + i * CELL
            color = blue_to_red(PALER * shifts[i][j] / strongest)
            drawn.append(box(x, y, CELL - 2, CELL - 2, fill=color))
            drawn.append(text(x + CELL / 2 - 1, middle, f"{loss:.2f}", anchor="middle"))
    return drawn


def _bars(bars: Sequence[Bar], left: float, top: float) -> list[str]:
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
        drawn.append(text(left + BAR_LABEL - 8, middle + 4, bar.name, anchor="end"))
        drawn.append(box(begin, y, end - begin, BAR, fill="#7a9cc6"))
        drawn.append(line(at(bar.low), middle, at(bar.high), middle, width=1.5))
        drawn.append(text(begin + 4, y - 2, f"{bar.value:+.3f}", size=9, color=GREY))
    bottom = top + len(bars) * (BAR + BAR_GAP)
    drawn.append(line(at(0.0), top - 6, at(0.0), bottom, width=1.5))
    return drawn

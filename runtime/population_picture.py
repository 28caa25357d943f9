"""A population as a picture: a map of who answers like whom, and the curve of votes, as SVG."""

from collections.abc import Sequence
from html import escape

from populace.population_report import MemberPlace, PopulationReport

COLORS = ("#3b6fb6", "#c8553d", "#4a8f5b", "#8a63a8", "#c99a2e", "#4f9da6", "#9a5b3b", "#6b6b6b")
WIDTH, HEIGHT, MARGIN, LEFT = 860, 420, 40, 420
NAMED_MAX = 40
"""Members beyond that are told by pointing at them."""


def report_picture(report: PopulationReport) -> str:
    """Draw the map, coloured by cluster and larger where more is right, and beside it the curve of votes."""
    drawn = [
        _text(MARGIN, 24, "Who answers like whom", 14),
        _text(LEFT + MARGIN, 24, "Right on probes, by number of voters", 14),
    ]
    drawn += _map(report.members)
    drawn += _curve(report)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">'
        '<rect width="100%" height="100%" fill="#ffffff"/>' + "".join(drawn) + "</svg>\n"
    )


def _map(members: Sequence[MemberPlace]) -> list[str]:
    span = max((abs(value) for one in members for value in (one.x, one.y)), default=0.0) or 1.0
    side = (min(LEFT, HEIGHT) - 2 * MARGIN) / 2
    drawn: list[str] = []
    for one in members:
        x, y = MARGIN + side * (1 + one.x / span), MARGIN + side * (1 - one.y / span)
        color = COLORS[one.cluster % len(COLORS)]
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 6 * one.accuracy:.1f}" fill="{color}" '
            f'fill-opacity="0.7"><title>{escape(one.model)}: {one.accuracy:.0%}</title></circle>'
        )
        if len(members) <= NAMED_MAX:
            drawn.append(_text(x + 8, y + 3, one.model, 9))
    return drawn


def _curve(report: PopulationReport) -> list[str]:
    if not report.curve:
        return []
    left, top = LEFT + MARGIN, MARGIN + 10
    wide, down = WIDTH - left - MARGIN, HEIGHT - top - MARGIN
    values = [value for one in report.curve for value in (one.low, one.high)] + [report.best]
    lowest, highest = min(values), max(values)
    scale = (highest - lowest) or 1.0

    def x(at: int) -> float:
        return left + wide * at / max(1, len(report.curve) - 1)

    def y(value: float) -> float:
        return top + down * (1 - (value - lowest) / scale)

    points = " ".join(f"{x(at):.1f},{y(one.mean):.1f}" for at, one in enumerate(report.curve))
    drawn = [
        f'<path d="M{left} {y(report.best):.1f}H{left + wide}" stroke="#c8553d" stroke-dasharray="4 3"/>',
        _text(left + 4, y(report.best) - 5, f"best single member {report.best:.0%}", 10),
        f'<polyline points="{points}" fill="none" stroke="#3b6fb6" stroke-width="2"/>',
    ]
    for at, one in enumerate(report.curve):
        drawn.append(
            f'<path d="M{x(at):.1f} {y(one.low):.1f}V{y(one.high):.1f}" stroke="#3b6fb6"/>'
            + _text(x(at) - 4, HEIGHT - 16, str(one.k), 10)
            + _text(x(at) + 5, y(one.mean) - 5, f"{one.mean:.0%}", 9)
        )
    return drawn


def _text(x: float, y: float, text: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="#222222">{escape(text)}</text>'

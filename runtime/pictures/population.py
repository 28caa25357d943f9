"""A population as a picture: a map of who answers like whom, and the curve of votes, as SVG."""

from collections.abc import Sequence
from html import escape

from populace.actors.aggregation.report import MemberPlace, PopulationReport
from populace.pictures.svg import COLORS, curve, document, line, text

VOTES, BEST = COLORS[:2]
WIDTH, HEIGHT, MARGIN, LEFT = 860, 420, 40, 420
NAMED_MAX = 40
"""Members beyond that are told by pointing at them."""

LABEL_WIDTH, LABEL_HEIGHT = 70, 10


def report_picture(report: PopulationReport) -> str:
    """Draw the map, coloured by cluster and larger where more is right, and beside it the curve of votes."""
    drawn = [
        text(MARGIN, 24, "Who answers like whom", size=14),
        text(LEFT + MARGIN, 24, "Right on probes, by number of voters", size=14),
    ]
    return document(WIDTH, HEIGHT, [*drawn, *_map(report.members), *_curve(report)])


def _map(members: Sequence[MemberPlace]) -> list[str]:
    span = max((abs(value) for one in members for value in (one.x, one.y)), default=0.0) or 1.0
    side = (min(LEFT, HEIGHT) - 2 * MARGIN) / 2
    drawn: list[str] = []
    places = [(MARGIN + side * (1 + one.x / span), MARGIN + side * (1 - one.y / span)) for one in members]
    for one, (x, y) in zip(members, places, strict=True):
        color = COLORS[one.cluster % len(COLORS)]
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 6 * one.accuracy:.1f}" fill="{color}" '
            f'fill-opacity="0.7"><title>{escape(one.model)}: {one.accuracy:.0%}</title></circle>'
        )
    if len(members) <= NAMED_MAX:
        labels = apart([(x + LABEL_WIDTH / 5, y) for x, y in places])
        for one, (x, y), (to_x, to_y) in zip(members, places, labels, strict=True):
            drawn.append(line(x, y, to_x - 2, to_y, color="#bbbbbb", width=0.5))
            drawn.append(text(to_x, to_y + 3, one.model, size=9))
    return drawn


def apart(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Move labels down until none lies on another; they begin at the places."""
    found: dict[int, tuple[float, float]] = {}
    for at in sorted(range(len(places)), key=lambda at: places[at][1]):
        x, y = places[at]
        beside = [other_y for other_x, other_y in found.values() if abs(other_x - x) < LABEL_WIDTH]
        # A little less than a label's height: what was moved by that is apart, however it was rounded.
        while lies_on := [one for one in beside if abs(one - y) < LABEL_HEIGHT - 0.01]:
            y = min(lies_on) + LABEL_HEIGHT
        found[at] = (x, y)
    return [found[at] for at in range(len(places))]


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

    best = y(report.best)
    drawn = [
        line(left, best, left + wide, best, color=BEST, dashes="4 3"),
        text(left + 4, best - 5, f"best single member {report.best:.0%}", size=10),
        curve([(x(at), y(one.mean)) for at, one in enumerate(report.curve)], color=VOTES, width=2),
    ]
    for at, one in enumerate(report.curve):
        drawn += (
            line(x(at), y(one.low), x(at), y(one.high), color=VOTES),
            text(x(at) - 4, HEIGHT - 16, str(one.k), size=10),
            text(x(at) + 5, y(one.mean) - 5, f"{one.mean:.0%}", size=9),
        )
    return drawn

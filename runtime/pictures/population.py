# pyright: reportUnknownMemberType=false
# matplotlib's functions are partly untyped.
"""A map of which members of a population answer alike, and the accuracy of their votes, as SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from populace.actors.aggregation.report import MemberPlace, PopulationReport
from populace.pictures.figures import COLORS, GREY, svg

if TYPE_CHECKING:
    from populace.pictures.figures import Axes, Figure

WIDTH, HEIGHT = 860, 420
NAMED_MAX = 40
"""At most this many members have their names beside them: those with the most right answers."""

LABEL_OFFSET, LABEL_HEIGHT = 8.0, 10.0
"""Points from a member's centre to its label, and from a label to the next one above it."""

VOTES, BEST = COLORS[1:3]


def report_picture(report: PopulationReport) -> str:
    """Return the map of members beside the chart of their votes.

    A member's colour is that of its cluster, and its marker is larger the more of the probes it answers
    right. Raises ``MatplotlibMissing``.
    """

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        left.set_title("Members: near each other if they answer alike")
        right.set_title("Right answers to probes, by number of voters")
        if report.curve:
            _draw_votes(right, report)
        _draw_members(figure, left, report.members)

    return svg(WIDTH, HEIGHT, draw)


def _draw_votes(axes: "Axes", report: PopulationReport) -> None:
    sizes = [point.k for point in report.curve]
    axes.axhline(report.best, color=BEST, linestyle="--", label=f"best single member {report.best:.0%}")
    axes.plot(
        sizes, [point.mean for point in report.curve], color=VOTES, label="majority vote, mean and 95 %"
    )
    axes.vlines(sizes, [point.low for point in report.curve], [point.high for point in report.curve], VOTES)
    for point in report.curve:
        axes.annotate(
            f"{point.mean:.0%}", (point.k, point.mean), (5, -11), textcoords="offset points", size=9
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="lower right")


def _draw_members(figure: "Figure", axes: "Axes", members: Sequence[MemberPlace]) -> None:
    axes.scatter(
        [member.x for member in members],
        [member.y for member in members],
        [(6 + 12 * member.accuracy) ** 2 for member in members],
        [COLORS[1 + member.cluster % (len(COLORS) - 1)] for member in members],
        alpha=0.7,
    )
    axes.set_axis_off()
    axes.set_aspect("equal", "datalim")
    named = sorted(members, key=lambda member: -member.accuracy)[:NAMED_MAX]
    labels = [
        axes.annotate(
            member.model,
            (member.x, member.y),
            (LABEL_OFFSET, 0),
            textcoords="offset points",
            verticalalignment="center",
            size=9,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
        )
        for member in named
    ]
    # The layout makes room for the labels beside their members, and stays so when they move up.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    boxes = [label.get_window_extent() for label in labels]
    rises = apart([(box.x0, box.y0, box.width) for box in boxes])
    for label, rise in zip(labels, rises, strict=True):
        label.xyann = (LABEL_OFFSET, rise)


def apart(labels: Sequence[tuple[float, float, float]]) -> list[float]:
    """Return how far each label has to move up so that no two overlap; the lowest stays where it is.

    A label is its left edge, its lower edge and its width; all lengths are in points. Each label is
    ``LABEL_HEIGHT`` high.
    """
    placed: dict[int, tuple[float, float, float]] = {}
    for index in sorted(range(len(labels)), key=lambda index: labels[index][1]):
        left, bottom, width = labels[index]
        beside = [
            other_bottom
            for other_left, other_bottom, other_width in placed.values()
            if left < other_left + other_width and other_left < left + width
        ]
        # The tolerance is for labels that were moved apart by a whole height, which rounding may lessen.
        while overlapped := [other for other in beside if abs(other - bottom) < LABEL_HEIGHT - 0.01]:
            bottom = max(overlapped) + LABEL_HEIGHT
        placed[index] = left, bottom, width
    return [placed[index][1] - bottom for index, (_, bottom, _) in enumerate(labels)]

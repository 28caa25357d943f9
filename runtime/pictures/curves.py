"""Curves laid over each other at one scale, as SVG."""

from collections.abc import Mapping, Sequence

from populace.pictures.svg import COLORS, INK, curve, document, line, text

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 34, 44
TICKS, TICKS_MAX = 5, 8
BROAD_WIDTH, BROAD_OPACITY = 5, 0.35


def curves_picture(
    title: str,
    curves: Mapping[str, Sequence[float]],
    *,
    across: str = "step",
    broad: str | None = None,
    places: Mapping[str, float] | None = None,
) -> str:
    """Draw each curve over its steps, the one named ``broad`` so that others can lie on it.

    Steps are numbers, from 1, or what ``places`` names, each with where it is, in any unit.
    """
    values = [value for points in curves.values() for value in points]
    lowest, highest = min(values), max(values)
    longest = max(map(len, curves.values()))
    places = places or {str(step + 1): step for step in range(longest)}
    names, at_step = list(places), list(places.values())
    span = (at_step[-1] - at_step[0]) or 1.0
    wide, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(step: int) -> float:
        return LEFT + wide * (at_step[step] - at_step[0]) / span

    def y(value: float) -> float:
        return TOP + down * (1 - (value - lowest) / ((highest - lowest) or 1.0))

    drawn = [text(LEFT, 20, title, size=13)]
    for tick in range(TICKS):
        value = lowest + (highest - lowest) * tick / (TICKS - 1)
        drawn.append(line(LEFT, y(value), LEFT + wide, y(value), color="#dddddd"))
        drawn.append(text(LEFT - 6, y(value) + 4, f"{value:.2f}", anchor="end"))
    drawn += [
        text(x(step), TOP + down + 18, names[step], anchor="middle")
        for step in range(0, longest, max(1, longest // TICKS_MAX))
    ]
    drawn.append(text(LEFT + wide / 2, HEIGHT - 8, across, anchor="middle"))
    for number, (name, points) in enumerate(curves.items()):
        color = (INK, *COLORS)[number % (1 + len(COLORS))]
        width, opacity = (BROAD_WIDTH, BROAD_OPACITY) if name == broad else (1.5, 1)
        drawn.append(
            curve(
                [(x(step), y(value)) for step, value in enumerate(points)],
                color=color,
                width=width,
                opacity=opacity,
            )
        )
        at = TOP + 12 + 18 * number
        key = WIDTH - RIGHT + 14
        drawn.append(line(key, at - 4, key + 18, at - 4, color=color, width=width, opacity=opacity))
        drawn.append(text(key + 24, at, name))
    return document(WIDTH, HEIGHT, drawn)

"""Curves of a training laid over each other, as SVG."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 620, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 34, 44
COLORS = ("#222222", "#3b6fb6", "#c8553d", "#4a8f5b", "#8a63a8", "#c99a2e")
TICKS = 5


def curves_picture(
    title: str, curves: Mapping[str, Sequence[float]], *, across: str = "step", broad: str | None = None
) -> str:
    """Draw each curve over its steps, from 1; the one named ``broad`` so that others can lie on it."""
    values = [value for curve in curves.values() for value in curve]
    lowest, highest = min(values), max(values)
    longest = max(map(len, curves.values()))
    wide, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(step: int) -> float:
        return LEFT + wide * step / max(1, longest - 1)

    def y(value: float) -> float:
        return TOP + down * (1 - (value - lowest) / ((highest - lowest) or 1.0))

    drawn = [_text(LEFT, 20, title, size=13)]
    for tick in range(TICKS):
        value = lowest + (highest - lowest) * tick / (TICKS - 1)
        drawn.append(
            f'<path d="M{LEFT} {y(value):.1f}H{LEFT + wide}" stroke="#dddddd"/>'
            + _text(LEFT - 6, y(value) + 4, f"{value:.2f}", anchor="end")
        )
    drawn += [
        _text(x(step), TOP + down + 18, str(step + 1), anchor="middle")
        for step in range(0, longest, max(1, longest // 8))
    ]
    drawn.append(_text(LEFT + wide / 2, HEIGHT - 8, across, anchor="middle"))
    for number, (name, curve) in enumerate(curves.items()):
        color, width, opacity = COLORS[number % len(COLORS)], *((5, 0.35) if name == broad else (1.5, 1))
        points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in enumerate(curve))
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}" '
            f'stroke-opacity="{opacity}"/>'
        )
        at = TOP + 12 + 18 * number
        drawn.append(
            f'<path d="M{WIDTH - RIGHT + 14} {at - 4}h18" stroke="{color}" stroke-width="{width}" '
            f'stroke-opacity="{opacity}"/>' + _text(WIDTH - RIGHT + 38, at, name)
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">'
        '<rect width="100%" height="100%" fill="#ffffff"/>' + "".join(drawn) + "</svg>\n"
    )


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="#222222">{escape(text)}</text>'

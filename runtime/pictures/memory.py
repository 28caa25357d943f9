"""A personal model's memory state as people see it: the norm of each layer, and a picture of all values.

The picture is SVG written by hand and no chart of matplotlib: the gateway serves it, and every client can
draw it with nothing but the base dependencies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Protocol

import numpy as np

from populace.actors.errors import InvalidRequest
from populace.actors.known import SURE_MIN, Known
from populace.actors.memories import MemoryView, MemoryWrite
from populace.adapters.memory.state import StateFormat, Values

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


CELL = 7
GAP = 14
TILES_PER_ROW = 10
MARGIN = 20
HEAD = 44


class Ask(Protocol):
    """Asks the model what it knows."""

    def __call__(self, questions: Sequence[str], /, *, sure_min: float, wait: bool) -> Known: ...


@dataclass(frozen=True, slots=True)
class PersonalMemory:
    """What a personal model remembers as of one turn.

    ``version`` counts the turns that went through the memory. ``module`` is the digest of the memory module
    that wrote the ``state`` [layers, states, rank, rank]; both are None if nothing was ever written.
    ``writes`` are the newest writes.
    """

    name: str
    version: int
    module: str | None
    state: Values | None
    writes: tuple[MemoryWrite, ...]
    ask: Ask | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, view: MemoryView, ask: Ask | None = None) -> "PersonalMemory":
        """Decode a view; ``known`` calls ``ask``. Raises ``MemoryStateInvalid`` for a damaged state."""
        if view.state is None:
            return cls(view.model.name, view.version, None, None, view.writes, ask)
        layout = StateFormat.of(view.state)
        return cls(view.model.name, view.version, layout.module, layout.unpack(view.state), view.writes, ask)

    def known(
        self, questions: Sequence[str] = (), *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        """Return what the model knows about its person: what it answered when it was asked last.

        The result says as of which ``position`` of the log that is, None if it was not asked yet, and
        whether it is ``refreshing``: the model is asked anew in the background when something was said,
        corrected or learned since. ``wait`` waits for that, some seconds. ``questions`` are asked
        now instead of the common ones.

        Each fact has the answer, the model's confidence in it, ``sure_min`` or more, and the ``position`` of
        the turn that it comes from, which ``ada.forget`` takes; telling the model a fact anew replaces it.
        Nothing is logged. Raises what a peek raises, and ``InvalidRequest`` for too many or too long
        questions and for an earlier memory.
        """
        if self.ask is None:
            raise InvalidRequest("Only the memory as it is now can be asked.", "position")
        return self.ask(questions, sure_min=sure_min, wait=wait)

    @property
    def norms(self) -> tuple[float, ...]:
        """The Frobenius norm of each layer's state, first layer first; empty if nothing was written."""
        if self.state is None:
            return ()
        return tuple(float(norm) for norm in np.linalg.norm(self.state.reshape(len(self.state), -1), axis=1))

    @property
    def bytes(self) -> int:
        """The size of the state's values."""
        return 0 if self.state is None else self.state.nbytes

    def picture(self) -> str:
        """Return the state as SVG: a tile for each layer with its norm, and in it a square for each value."""
        tiles = np.zeros((0, 1, 1), np.float32) if self.state is None else _tiles(self.state)
        strongest = float(np.abs(tiles).max()) if tiles.size else 0.0
        height, width = tiles.shape[1] * CELL, tiles.shape[2] * CELL
        rows = -(-len(tiles) // TILES_PER_ROW)
        full_width = max(480, 2 * MARGIN + TILES_PER_ROW * (width + GAP) - GAP)
        full_height = HEAD + rows * (height + GAP + 14) + MARGIN
        drawn = [
            _tile(
                tile,
                strongest,
                MARGIN + index % TILES_PER_ROW * (width + GAP),
                HEAD + index // TILES_PER_ROW * (height + GAP + 14),
                f"{index}: {self.norms[index]:.2f}",
            )
            for index, tile in enumerate(tiles)
        ]
        title = f"Memory of {self.name} after {self.version} turns"
        legend = (
            f"each tile a layer (number: norm); blue -{strongest:.2g}, white 0, red {strongest:.2g}"
            if len(tiles)
            else "nothing was written yet"
        )
        head = (text(MARGIN, 18, title, size=14), text(MARGIN, 34, legend, size=10, color=GREY))
        return document(full_width, full_height, [*head, *drawn])

    def _repr_svg_(self) -> str:
        """The picture, under the name that notebooks look for."""
        return self.picture()


def _tiles(state_LNRR: Values) -> Values:
    """Put the parallel states of each layer beside each other: [layers, rank, states x rank]."""
    layers, states, rank, _ = state_LNRR.shape
    return state_LNRR.transpose(0, 2, 1, 3).reshape(layers, rank, states * rank)


def _tile(tile: Values, strongest: float, left: int, top: int, label: str) -> str:
    squares = [
        box(
            left + column * CELL,
            top + row * CELL,
            CELL,
            CELL,
            fill=blue_to_red(float(value) / strongest if strongest else 0.0),
        )
        for row, values in enumerate(tile)
        for column, value in enumerate(values)
    ]
    height, width = tile.shape[0] * CELL, tile.shape[1] * CELL
    frame = box(left, top, width, height, fill="none", stroke="#cccccc")
    return "".join(squares) + frame + text(left, top + height + 10, label, size=9, color=GREY)

"""The measured cells of ``rank_start_alpha.py``, which a file keeps, so that a study resumes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from defaults.cells import Cell, Method

from populace.storage.records.files import write_durably

SAME_LOSS = 0.01
"""Scores of the same adapter differ by less between machines, in nats a token."""


class Score(NamedTuple):
    """What an adapter is worth on held-out questions, and how far it is from what it began on.

    ``loss`` is in nats a token of the right answers, ``sums`` and ``products`` are the shares of greedy
    replies that are exactly the answer, and ``divergence`` is the KL on general text in nats a token.
    """

    loss: float
    sums: float
    products: float
    divergence: float = 0.0

    @property
    def right(self) -> float:
        """The share of right replies; as many sums as products are asked."""
        return (self.sums + self.products) / 2


class Row(NamedTuple):
    """A trained cell: its score, its seconds of a group's training, and why it ended early, if it did."""

    cell: Cell
    score: Score
    seconds: float
    ended: str = ""


class Kept:
    """The rows of a study, and the scores of what the cells of each method began on.

    Without a file they are kept in memory only. A file is replaced as a whole after each group of cells.
    """

    def __init__(self, path: Path | None, what: str) -> None:
        """Read the file if it exists. ``what`` names all that the rows depend on besides their cells.

        Raises ``SystemExit`` if the file belongs to another ``what``.
        """
        self._path = path
        self._study = hashlib.sha256(what.encode()).hexdigest()
        self.began: dict[Method, Score] = {}
        self.rows: dict[Cell, Row] = {}
        self.about: Mapping[str, Any] = {}
        if path is None or not path.exists():
            return
        content = json.loads(path.read_bytes())
        if content["study"] != self._study:
            raise SystemExit(f"{path} is of another study: its sizes or its base differ.")
        self.began = {method: Score(**score) for method, score in content["began"].items()}
        rows = [_row(entry) for entry in content["rows"]]
        self.rows = {row.cell: row for row in rows}

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells that were not measured yet, in their order."""
        return [cell for cell in cells if cell not in self.rows]

    @property
    def taught_path(self) -> Path | None:
        """The file of the adapter that cells with rewards begin on, beside that of the rows."""
        return None if self._path is None else self._path.with_name(f"{self._path.name}.adapter")

    def begin(self, method: Method, score: Score) -> None:
        """Keep what the cells of a method begin on. Raises ``SystemExit`` if other ones began elsewhere."""
        known = self.began.setdefault(method, score)
        if abs(known.loss - score.loss) > SAME_LOSS:
            raise SystemExit(
                f"What the cells of {method} begin on came out otherwise than when the file was begun "
                f"({score}, not {known}): they cannot be compared. Begin another file."
            )

    def add(self, rows: Sequence[Row]) -> None:
        """Keep the rows of a group, durably if there is a file."""
        self.rows |= {row.cell: row for row in rows}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, json.dumps(self._content(), indent=1).encode())

    def _content(self) -> dict[str, Any]:
        return {
            "study": self._study,
            **self.about,
            "began": {method: score._asdict() for method, score in self.began.items()},
            "rows": [
                row._asdict() | {"cell": row.cell._asdict(), "score": row.score._asdict()}
                for row in self.rows.values()
            ],
        }


def _row(entry: Mapping[str, Any]) -> Row:
    return Row(Cell(**entry["cell"]), Score(**entry["score"]), entry["seconds"], entry["ended"])

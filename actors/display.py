"""Representations of values in Python: one line, or a small table in a notebook.

What people said is data: it is shortened, and escaped where it becomes HTML.
"""

from collections.abc import Iterable, Sequence
from html import escape

LINE_CHARACTERS = 60
CELL_CHARACTERS = 500


def brief(text: str, characters: int = LINE_CHARACTERS) -> str:
    """Return the text as a literal of one line, cut where it is long."""
    return repr(text if len(text) <= characters else f"{text[: characters - 1]}…")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML; cells are text and never markup, and cut where they are long."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    shown = escape(text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}…")
    return f'<td style="text-align:left;white-space:pre-wrap">{shown}</td>'

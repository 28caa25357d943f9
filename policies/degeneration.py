"""Finds where a reply degenerates into a loop or into noise (arXiv 1904.09751).

It is judged by the text alone, and by no words of any language. A list, a table, code or a refrain repeats
itself too, so a loop counts by how much of it there is, and more is borne of what has no letters, or has
signs of code or of a table. Words that are none, in letters of one script, are not recognised.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Literal, NamedTuple

Degeneration = Literal["repetition", "noise"]

STEP_CHARACTERS = 24
"""A reply that grows is judged again after this much more of it."""

PROBE_CHARACTERS = 24
"""The end of a text is looked for before it by as much; one that is in a loop has it there."""

ROUND_CHARACTERS_MAX = 700
"""The longest passage that is recognised when it comes again."""

ROUNDS_MIN = 4
LOOP_CHARACTERS_MIN = 120
"""How long a loop is in all, at least: "ha ha ha" may come forty times."""

STRUCTURED_CHARACTERS_MIN = 900
"""The same for what has no letters, or a sign of code, markup or a table: a matrix, a row of dashes."""

SEEN_CHARACTERS_MAX = ROUNDS_MIN * ROUND_CHARACTERS_MAX
"""The end of a text that is judged has at most as much."""

STRUCTURE = frozenset("(){}[]|<>=;\\_")
PLACES_MAX = 6

ROWS_MIN = 16
FRAME_CHARACTERS_MIN = 24
"""This number of lines in a row that begin or end with as much of the same is a loop."""

NOISE_MIN = 8
NOISE_CHARACTERS = 400
"""This number of signs of noise among the last characters of a text makes it noise."""

_EAST = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_SCRIPTS = (
    "A-Za-z\u00c0-\u024f",
    "\u0370-\u03ff",
    "\u0400-\u052f",
    "\u0530-\u058f",
    "\u0590-\u05ff",
    "\u0600-\u06ff",
    "\u0900-\u0dff",
    "\u0e00-\u0e7f",
    "\u10a0-\u10ff",
)
_LETTERS = "".join(_SCRIPTS)
# Bytes that are no character, and letters of two scripts in a word. Those of East Asia mix with Latin ones.
_NOISE = re.compile(
    "\ufffd|"
    + "|".join(f"[{script}](?=[{_LETTERS.replace(script, '')}])" for script in _SCRIPTS)
    + f"|[{_EAST}](?=[{''.join(_SCRIPTS[1:])}])|[{''.join(_SCRIPTS[1:])}](?=[{_EAST}])"
)


class Broken(NamedTuple):
    """How a reply degenerates, and where: what is before ``start`` is sound."""

    kind: Degeneration
    start: int


def degeneration(text: str) -> Broken | None:
    """Judge the end of a reply. What follows it can make none of it sound, so a reply may end there."""
    return _loop(text) or _rows(text) or _noise(text)


def sound_part(text: str) -> str:
    """Return a reply up to where it degenerates; all of it if it does not end so, as nearly every one."""
    seen = max(0, len(text) - SEEN_CHARACTERS_MAX)
    # A client may leave out the end of the last line.
    broken = degeneration(text[seen:]) or _rows(f"{text[seen:]}\n")
    return text if broken is None else text[: seen + broken.start].rstrip() or "…"


def _loop(text: str) -> Broken | None:
    """Find the loop that a text ends in."""
    for size in _distances(text):
        round_ = text[-size:]
        is_structured = not any(map(str.isalpha, round_)) or not STRUCTURE.isdisjoint(round_)
        least = STRUCTURED_CHARACTERS_MIN if is_structured else LOOP_CHARACTERS_MIN
        length = max(least, ROUNDS_MIN * size)
        if length <= len(text) and text[-length:-size] == text[size - length :]:
            start = len(text) - length
            while start and text[start - 1] == text[start - 1 + size]:
                start -= 1
            # What ends the sentence before may be how each round ends, too.
            words = re.compile(r"(?:(?<=\s)|^)\S").search(text, start, start + size)
            return Broken("repetition", start if words is None else words.start())
    return None


def _distances(text: str) -> Iterator[int]:
    """Walk how far before the end of the text the same passage ended, nearest first."""
    probe = text[-PROBE_CHARACTERS:]
    place = end = len(text) - len(probe)
    for _ in range(PLACES_MAX):
        place = text.rfind(probe, max(0, end - ROUND_CHARACTERS_MAX), place + len(probe) - 1)
        if place < 0:
            return
        yield end - place


def _rows(text: str) -> Broken | None:
    """Find the lines of one frame that a text ends in; the first of them is sound."""
    lines = [line for line in text.split("\n")[:-1] if line.strip()][-ROWS_MIN:]
    if len(lines) < ROWS_MIN:
        return None
    for frame in (_common(lines), _common([line[::-1] for line in lines])):
        if len(frame) >= FRAME_CHARACTERS_MIN and STRUCTURE.isdisjoint(frame):
            start = text.rfind(lines[0], 0, len(text) - sum(map(len, lines[1:])))
            return Broken("repetition", start + len(lines[0]))
    return None


def _common(lines: list[str]) -> str:
    """Return what all lines begin with."""
    first, last = min(lines), max(lines)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in same)]


def _noise(text: str) -> Broken | None:
    """Find the noise that a text ends in."""
    if text.isascii():
        return None
    first = max(0, len(text) - NOISE_CHARACTERS)
    found = [match.start() for match in _NOISE.finditer(text, first)]
    return Broken("noise", found[0]) if len(found) >= NOISE_MIN else None

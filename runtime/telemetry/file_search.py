"""Searches the files of a folder, logs or traces, for lines that have a text, within limits.

It looks for the text in blocks of bytes, so that other requests are not held up, and reads the newest files
first.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from populace.telemetry.reading import LOG_NAME
from populace.telemetry.rotating_file import FILES, older_name

BLOCK_BYTES = 1024 * 1024


class Limits(NamedTuple):
    """How much is read at a time, how long, and how many lines or spans a search finds."""

    bytes_max: int = 1_000_000_000
    found_max: int = 1000
    seconds_max: float = 5.0


DEFAULT_LIMITS = Limits()


class FileSearch:
    """One search, which may read a folder several times, each time within the limits.

    ``is_whole`` is False once a limit has ended a reading; whoever reads sets that too, when it has found
    too much.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits = DEFAULT_LIMITS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.is_whole = True
        self._directory = directory
        self._monotonic = monotonic

    def blocks(self, texts: Sequence[bytes]) -> Iterator[list[bytes]]:
        """Yield for each block of the files the lines that have one of the texts, the newest files first."""
        ends_at, read = self._monotonic() + self.limits.seconds_max, 0
        for file in _newest_first(self._directory):
            with file:
                for lines, size in _lines_with(file, texts):
                    read += size
                    yield lines
                    if read > self.limits.bytes_max or self._monotonic() > ends_at:
                        self.is_whole = False
                        return


def _newest_first(directory: Path) -> Iterator[BinaryIO]:
    """Open the files of all processes, each once although they turn over meanwhile."""
    paths = [
        older_name(path, number)
        for path in directory.glob("*.jsonl")
        if LOG_NAME.fullmatch(path.name)
        for number in range(FILES)
    ]
    opened: set[tuple[int, int]] = set()
    for path in sorted(paths, key=_written_at, reverse=True):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) in opened:
            file.close()
            continue
        opened.add((status.st_dev, status.st_ino))
        yield file


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _lines_with(file: BinaryIO, texts: Sequence[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Yield for each block of a file the lines that have one of the texts, and the block's size."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        cut = block.rfind(b"\n") + 1
        if cut == 0:
            rest += block
            continue
        part, rest = rest + block[:cut], block[cut:]
        ends = {end for text in texts for end in _line_ends(part, text)}
        yield [part[part.rfind(b"\n", 0, end) + 1 : end] for end in sorted(ends)], len(block)


def _line_ends(part: bytes, text: bytes) -> Iterator[int]:
    """Yield where the lines end that have a text."""
    at = part.find(text)
    while at >= 0:
        end = part.index(b"\n", at)
        yield end
        at = part.find(text, end)

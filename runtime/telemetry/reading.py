"""Reads the logs of all processes as one, also while they are written and turn over."""

import contextlib
import heapq
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from populace.telemetry.lines import Line, moment_of
from populace.telemetry.rotating_file import FILES, older_name

LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_NAME = re.compile(r"(?P<process>[a-z]+)-\d+\.jsonl")


class Selection(NamedTuple):
    """Which lines are wanted: all that fit everything that is not None.

    ``process`` is a kind, such as ``host``, or one of them, such as ``host-1``; ``level`` the lowest;
    ``since`` a ``timestamp``.
    """

    process: str | None = None
    level: str | None = None
    request_id: str | None = None
    since: str | None = None

    def has_log(self, name: str) -> bool:
        """Return whether lines of a log of this file name may be wanted."""
        found = LOG_NAME.fullmatch(name)
        if found is None:
            return False
        return self.process in (None, found["process"], name.removesuffix(".jsonl"))

    def has(self, line: Line) -> bool:
        if self.since is not None and line["ts"] < self.since:
            return False
        if self.request_id is not None and line.get("request_id") != self.request_id:
            return False
        return self.level is None or _rank(line.get("level")) >= _rank(self.level)


class Logs:
    """The logs in a directory, for the time of a block. ``read`` again yields what was added since."""

    def __init__(self, directory: Path, selection: Selection | None = None) -> None:
        self._directory = directory
        self._selection = selection or Selection()
        self._tails: dict[str, _Tail] = {}

    @property
    def names(self) -> list[str]:
        """The processes whose logs are read, such as ``host-0``."""
        return sorted(name.removesuffix(".jsonl") for name in self._tails)

    def read(self) -> Iterator[Line]:
        """Yield the wanted lines that are new, by their times."""
        self.look()
        lines = heapq.merge(*(tail.read() for tail in self._tails.values()), key=lambda line: line["ts"])
        return (line for line in lines if self._selection.has(line))

    def look(self) -> None:
        """Find the logs of processes that have begun. Raises ``PermissionError``."""
        # Unlike glob, it tells a directory that may not be read from an empty one.
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self._directory.iterdir()):
                if path.name not in self._tails and self._selection.has_log(path.name):
                    self._tails[path.name] = _Tail(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for tail in self._tails.values():
            tail.close()


class _Tail:
    """One process's log: its older files first, and each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self) -> Iterator[Line]:
        """Yield the lines that were added since the last call."""
        while (newer := self._newer()) is not None or self._file is not None:
            # Also what came to the former file before it turned over.
            yield from self._lines()
            if newer is None:
                return
            self.close()
            self._file, self._rest = newer, b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _lines(self) -> Iterator[Line]:
        if self._file is not None and os.fstat(self._file.fileno()).st_size < self._file.tell():
            # It was emptied in its place, as logrotate's copytruncate does.
            self._file.seek(0)
            self._rest = b""
        for data in iter(self._file.readline, b"") if self._file is not None else ():
            if not data.endswith(b"\n"):
                self._rest += data
                continue
            line = parsed_line(self._rest + data)
            self._rest = b""
            if line is not None:
                yield line

    def _newer(self) -> BinaryIO | None:
        """Open the file that comes after the current one, if there is one.

        An open file keeps its inode, so that it is found again under the name that it has now.
        """
        files = self._stable()
        own = None if self._file is None else os.fstat(self._file.fileno()).st_ino
        inodes = [inode for inode, _ in files]
        newer = files[inodes.index(own) + 1 :] if own in inodes else files
        if not newer:
            return None
        inode, path = newer[0]
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        if os.fstat(file.fileno()).st_ino != inode:  # it turned over in between: the next look finds it
            file.close()
            return None
        return file

    def _stable(self) -> list[tuple[int, Path]]:
        """Return the files that are there, oldest first, as they were at one moment."""
        before: list[tuple[int, Path]] | None = None
        while before != (now := self._there()):
            before = now
        return now

    def _there(self) -> list[tuple[int, Path]]:
        found: list[tuple[int, Path]] = []
        for number in reversed(range(FILES)):
            path = older_name(self._path, number)
            try:
                found.append((path.stat().st_ino, path))
            except FileNotFoundError:
                continue
        return found


def parsed_line(data: bytes) -> Line | None:
    """Return a line, or None for what a full disk or a kill tore."""
    try:
        line = json.loads(data)
    except ValueError:
        return None
    is_line = isinstance(line, dict) and moment_of(line) is not None  # pyright: ignore
    return line if is_line else None  # pyright: ignore


def _rank(level: object) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)  # pyright: ignore[reportArgumentType]

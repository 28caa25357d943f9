"""Finds the lines of one request in the logs of all processes, for whoever sent it.

``populace logs --request`` reads every line, for the operator of the machine. This answers over the network:
it looks for the id in blocks of bytes, so that other requests are not held up, reads the newest files first,
and ends at limits. A line counts only if its ``tenant`` is the one who asks.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from populace.actors.request_log import LogLine, RequestLog
from populace.telemetry.lines import Line
from populace.telemetry.reading import LOG_NAME, parsed_line
from populace.telemetry.rotating_file import FILES, older_name

BLOCK_BYTES = 1024 * 1024


class Limits(NamedTuple):
    """How much is read for one answer, how long, and how many lines it has."""

    bytes_max: int = 1_000_000_000
    lines_max: int = 1000
    seconds_max: float = 5.0


DEFAULT_LIMITS = Limits()


def lines_of_request(
    directory: Path,
    request_id: str,
    tenant: str,
    *,
    limits: Limits = DEFAULT_LIMITS,
    monotonic: Callable[[], float] = time.monotonic,
) -> RequestLog:
    """Find the lines of a tenant's request; ``tenant`` is its keyed hash, as lines have it.

    If a limit ends it, what the newest files have is there and ``is_whole`` is False.
    """
    wanted = json.dumps(request_id).encode()
    ends_at = monotonic() + limits.seconds_max
    found: list[LogLine] = []
    read = 0
    for file in _newest_first(directory):
        with file:
            for lines, size in _lines_with(file, wanted):
                read += size
                ours = (line for line in map(parsed_line, lines) if line is not None)
                found += [
                    _told(line)
                    for line in ours
                    if line.get("request_id") == request_id and line.get("tenant") == tenant
                ]
                if read > limits.bytes_max or len(found) > limits.lines_max or monotonic() > ends_at:
                    return RequestLog(request_id, _in_order(found)[-limits.lines_max :], is_whole=False)
    return RequestLog(request_id, _in_order(found), is_whole=True)


def _in_order(lines: list[LogLine]) -> tuple[LogLine, ...]:
    return tuple(sorted(lines, key=lambda line: line.at))


def _newest_first(directory: Path) -> Iterator[BinaryIO]:
    """Open the files of all logs, each once although they turn over meanwhile."""
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


def _lines_with(file: BinaryIO, wanted: bytes) -> Iterator[tuple[list[bytes], int]]:
    """Yield for each block of a file the lines that have these bytes, and the block's size."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        cut = block.rfind(b"\n") + 1
        if cut == 0:
            rest += block
            continue
        part, rest = rest + block[:cut], block[cut:]
        lines: list[bytes] = []
        at = part.find(wanted)
        while at >= 0:
            end = part.index(b"\n", at)
            lines.append(part[part.rfind(b"\n", 0, at) + 1 : end])
            at = part.find(wanted, end)
        yield lines, len(block)


def _told(line: Line) -> LogLine:
    """Return what of a line leaves the machine: of a stack its last row, the type that was raised."""
    stack = str(line.get("exc", "")).splitlines()
    return LogLine(
        at=line["ts"],
        level=str(line.get("level", "")),
        logger=str(line.get("logger", "")),
        message=str(line.get("msg", "")),
        process=str(line.get("process", "")),
        number=int(line.get("number", 0)),
        error_code=line.get("error.code"),
        raised=stack[-1] if stack else None,
    )

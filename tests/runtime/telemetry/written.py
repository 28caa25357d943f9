"""What the tests of the logs write and read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from populace.telemetry.file_search import FileSearch
from populace.telemetry.options import TelemetryOptions

KEY = b"k" * 32


def options(directory: Path, **changes: Any) -> TelemetryOptions:
    return replace(TelemetryOptions(directory, KEY, log_format="json"), **changes)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class CountedSearch(FileSearch):
    """Counts the lines that it found, all of which are parsed."""

    lines = 0

    def blocks(self, texts: Sequence[bytes]) -> Iterator[list[bytes]]:
        for lines in super().blocks(texts):
            self.lines += len(lines)
            yield lines

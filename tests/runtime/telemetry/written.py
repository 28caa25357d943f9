"""What the tests of the logs write and read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from populace.telemetry.options import TelemetryOptions

KEY = b"k" * 32


def options(directory: Path, **changes: Any) -> TelemetryOptions:
    return replace(TelemetryOptions(directory, KEY, log_format="json"), **changes)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

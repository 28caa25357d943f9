"""What the tests of a tier note for its budget: what they start, how they ended, and which were long.

``scripts/supervise.py`` names the file in the environment, and compares it with ``tests/budget.toml`` when
the tier is over. Without a supervisor nothing is noted.
"""

import json
import os
from pathlib import Path
from typing import Literal

Kind = Literal["vllm", "serve vllm", "serve torch", "ray", "browser", "environment"]

VARIABLE = "POPULACE_TEST_NOTES"

LONG_SECONDS = 20.0


def count_start(kind: Kind) -> None:
    """Note that one of this kind is started; safe in several processes at once."""
    _note({"start": kind})


def note_outcomes(outcomes: dict[str, int], long: dict[str, float]) -> None:
    """Note how many tests ended how, and the seconds of those that are long."""
    _note({"outcomes": outcomes})
    for name, seconds in long.items():
        _note({"long": name, "seconds": round(seconds, 1)})


def _note(line: object) -> None:
    path = os.environ.get(VARIABLE)
    if path is not None:
        # One short write to a file that is opened to append is whole, also beside others.
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

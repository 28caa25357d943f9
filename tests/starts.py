"""Counts what is dear to start, for the budget of the tier that runs: ``tests/budget.toml``.

Each process of a tier adds lines to one file, which ``scripts/supervise.py`` names in the environment and
reads when the tier is over. Without a supervisor nothing is counted.
"""

import os
from pathlib import Path
from typing import Literal

Kind = Literal["vllm", "serve vllm", "serve torch", "ray", "browser", "environment"]

VARIABLE = "POPULACE_TEST_STARTS"


def count_start(kind: Kind) -> None:
    """Note that one of this kind is started; safe in several processes at once."""
    path = os.environ.get(VARIABLE)
    if path is not None:
        # One short write to a file that is opened to append is whole, also beside others.
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{kind}\n")

"""Show what the tiers of the tests took in their last runs; fail if one did not run.

python scripts/tiers.py TIER [TIER ...]
"""

import json
import sys
import tomllib
from typing import Any

from supervise import ROOT, TIERS

COLUMNS = ("tier", "passed", "failed", "minutes", "processor s", "allowed", "starts")


def main() -> int:
    """Print the table, the slow tests that have no name in the budget, and each tier that is absent."""
    with (ROOT / "tests" / "budget.toml").open("rb") as file:
        budget = tomllib.load(file)
    absent: list[str] = []
    rows: list[tuple[str, ...]] = [COLUMNS]
    unnamed: dict[str, float] = {}
    for tier in sys.argv[1:]:
        path = TIERS / f"{tier}.json"
        measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        outcomes = measured.get("outcomes", {})
        if not outcomes.get("passed"):
            absent.append(tier)
            continue
        failed = outcomes.get("failed", 0) + outcomes.get("error", 0)
        starts = ", ".join(f"{count} {kind}" for kind, count in measured["starts"].items())
        minutes, processor = measured["seconds"] / 60, measured["processor_seconds"]
        allowed = budget.get(tier, {}).get("processor_seconds", "")
        cells = (tier, outcomes["passed"], failed, f"{minutes:.1f}", f"{processor:.0f}", allowed, starts)
        rows.append(tuple(map(str, cells)))
        unnamed |= {name: took for name, took in measured["slow"].items() if name not in budget["slow"]}
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for name, took in sorted(unnamed.items(), key=lambda one: -one[1]):
        print(f"above 20 s and not named in tests/budget.toml: {took:.0f} s, {name}")
    for tier in absent:
        print(f"FAILED: {tier} did not run")
    return bool(absent)


if __name__ == "__main__":
    sys.exit(main())

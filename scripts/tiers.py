"""Show what the tiers of the tests took in their last runs; fail if one did not run.

    python scripts/tiers.py TIER [TIER ...]
    python scripts/tiers.py --record PART

The second writes what a part of the release tier passed to ``docs/releases``, with the digest of the tree
that it was run on. ``scripts.release build`` refuses a tree of which a part has no such record.
"""

import datetime
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TIERS = ROOT / "build" / "tiers"
RECORDS = ROOT / "docs" / "releases"
TREE = ("actors", "examples", "policies", "runtime", "scripts", "storage", "tests", "pyproject.toml")
"""What decides whether a test passes."""

TESTLESS = frozenset({"lint"})
"""Tiers that run no test, and of which one that was measured therefore ran."""

COLUMNS = ("tier", "passed", "failed", "minutes", "processor s", "allowed", "starts")


def main() -> int:
    """Do what the command line says; return the exit status."""
    if sys.argv[1] == "--record":
        return record(sys.argv[2])
    return show(sys.argv[1:])


def show(tiers: list[str]) -> int:
    """Print the table, the long tests that have no name in the budget, and each tier that is absent."""
    with (ROOT / "tests" / "budget.toml").open("rb") as file:
        budget = tomllib.load(file)
    absent: list[str] = []
    rows: list[tuple[str, ...]] = [COLUMNS]
    unnamed: dict[str, float] = {}
    for tier in tiers:
        path = TIERS / f"{tier}.json"
        measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        outcomes = measured.get("outcomes", {})
        ran = bool(measured) if tier in TESTLESS else bool(outcomes.get("passed"))
        if not ran:
            absent.append(tier)
            continue
        failed = outcomes.get("failed", 0) + outcomes.get("error", 0)
        starts = ", ".join(f"{count} {kind}" for kind, count in measured["starts"].items())
        minutes, processor = f"{measured['seconds'] / 60:.1f}", f"{measured['processor_seconds']:.0f}"
        allowed = budget.get(tier, {}).get("processor_seconds", "")
        cells = (tier, outcomes.get("passed", ""), failed, minutes, processor, allowed, starts)
        rows.append(tuple(map(str, cells)))
        unnamed |= {name: took for name, took in measured["long"].items() if name not in budget["long"]}
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for name, took in sorted(unnamed.items(), key=lambda one: -one[1]):
        print(f"above 20 s and not named in tests/budget.toml: {took:.0f} s, {name}")
    for tier in absent:
        print(f"FAILED: {tier} did not run")
    return bool(absent)


def record(part: str) -> int:
    """Write what the last run of a part passed, unless it was of files that are not committed."""
    changed = git("status", "--porcelain", "--", *TREE)
    if changed:
        print(f"{part} passed, and is not recorded, as this is not committed:\n{changed}", file=sys.stderr)
        return 0
    measured: dict[str, Any] = json.loads((TIERS / f"test-release-{part}.json").read_text(encoding="utf-8"))
    starts = ", ".join(f'"{kind}" = {count}' for kind, count in measured["starts"].items())
    lines = [
        f"# make test-release PART={part}",
        f'tree = "{tree_digest()}"',
        f"date = {datetime.datetime.now(tz=datetime.UTC).date()}",
        f"passed = {measured['outcomes']['passed']}",
        f"minutes = {measured['seconds'] / 60:.1f}",
        f"processor_seconds = {measured['processor_seconds']:.0f}",
        f"starts = {{ {starts} }}" if starts else "starts = {}",
    ]
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{part}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def release_parts() -> list[str]:
    """Return the names of the parts of the release tier, which the Makefile has."""
    [names] = re.findall(r"^PARTS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return names.split()


def unpassed_parts() -> list[str]:
    """Return the parts that have no record of what is committed now."""
    digest = tree_digest()
    passed = {
        path.stem
        for path in RECORDS.glob("*.toml")
        if tomllib.loads(path.read_text(encoding="utf-8"))["tree"] == digest
    }
    return [part for part in release_parts() if part not in passed]


def tree_digest() -> str:
    """Return the digest of what the last commit has of ``TREE``."""
    return hashlib.sha256(git("ls-tree", "HEAD", *TREE).encode()).hexdigest()


def git(*arguments: str) -> str:
    """Return what git prints of this checkout."""
    return subprocess.run(
        ["git", *arguments],  # noqa: S607 - whichever git this checkout is made by
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

"""Plant each of the faults that the promises forbid, and see that the tests notice.

    python -m scripts.mutants [NAME ...] [--json]

Every mutant changes a copy of the checkout. Its tests run there twice: as the code is, where they
must pass, and with the fault, where they must fail. Exits with 1 if a fault goes unnoticed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from scripts.mutants.faults import MUTANTS
from scripts.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("runtime", "actors", "storage", "policies")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
SECONDS_MAX = 600.0


class Verdict(NamedTuple):
    """``noticed_by`` names the first test that failed with the fault, None if all passed."""

    mutant: str
    promise: str
    noticed_by: str | None


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m scripts.mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="mutants to plant; all of them by default")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not arguments.names or mutant.name in arguments.names]

    progress = Console(stderr=True)
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="populace-mutants-") as folder:
        copy = Path(folder)
        with progress.status("Copying") as status:
            copy_checkout(copy)
            for mutant in chosen:
                with planted(copy, mutant):
                    pass
            status.update("Running the tests as the code is")
            tests = sorted({test for mutant in chosen for test in mutant.tests})
            broken = first_failure(copy, tests)
            if broken is not None:
                progress.print(f"Without any fault, {broken} fails: mend that first.")
                return 1
            for number, mutant in enumerate(chosen, 1):
                status.update(f"{number} of {len(chosen)}: {mutant.name}")
                verdicts.append(judge(copy, mutant))

    if arguments.json:
        print(json.dumps([verdict._asdict() for verdict in verdicts], indent=1))
    else:
        show(verdicts)
    return 0 if all(verdict.noticed_by for verdict in verdicts) else 1


def copy_checkout(copy: Path) -> None:
    """Copy the sources into the layout of the package, which then shadows the installed one."""
    shutil.copytree(ROOT / "runtime", copy / "populace")
    for room in ROOMS[1:]:
        shutil.copytree(ROOT / room, copy / "populace" / room)
    shutil.copytree(ROOT / "tests", copy / "tests")
    shutil.copy(ROOT / "pyproject.toml", copy)


def judge(copy: Path, mutant: Mutant) -> Verdict:
    """Run the mutant's tests with the fault."""
    with planted(copy, mutant):
        return Verdict(mutant.name, mutant.promise, first_failure(copy, mutant.tests))


@contextmanager
def planted(copy: Path, mutant: Mutant) -> Generator[None]:
    """Plant the fault for the time of the block. Ends the run if the code is not what the mutant edits."""
    before = {edit.file: place(copy, edit.file).read_text() for edit in mutant.edits}
    try:
        for edit in mutant.edits:
            file = place(copy, edit.file)
            text = file.read_text()
            if text.count(edit.old) != 1:
                raise SystemExit(f"{mutant.name}: {edit.file} has changed, and the mutant must too")
            file.write_text(text.replace(edit.old, edit.new))
        yield
    finally:
        for name, text in before.items():
            place(copy, name).write_text(text)


def place(copy: Path, file: str) -> Path:
    """Find a file of the checkout in the copy."""
    room, _, rest = file.partition("/")
    return copy / "populace" / rest if room == "runtime" else copy / "populace" / room / rest


def first_failure(copy: Path, tests: list[str] | tuple[str, ...]) -> str | None:
    """Run tests in the copy until one fails; answer its name, None if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return "the tests, which never ended"
    if done.returncode == 0:
        return None
    failed = FAILED.search(done.stdout)
    if done.returncode != 1 or failed is None:
        raise SystemExit(f"pytest did not run:\n{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
    return failed.group(1)


def show(verdicts: list[Verdict]) -> None:
    table = Table("promise", "mutant", "noticed by")
    for verdict in verdicts:
        noticed = verdict.noticed_by or "[red]nobody[/]"
        table.add_row(verdict.promise, verdict.mutant, noticed)
    Console(width=160).print(table)


if __name__ == "__main__":
    sys.exit(main())

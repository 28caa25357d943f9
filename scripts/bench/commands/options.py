"""What the commands of ``populace bench`` have in common: options, progress, and how results are shown."""

import contextlib
import math
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from populace.cli.console import CommandFailed, out, print_json, reporting
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings

if TYPE_CHECKING:
    from scripts.bench.report import BenchReport

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Data = Annotated[
    Path | None, typer.Option(help="A directory on the disk to measure. Default: the data directory.")
]


def on_disk(data: Path | None) -> Path:
    """Return the directory to measure in. Refuses one whose file system is in memory."""
    from scripts.bench.store import MEMORY_FILESYSTEMS, filesystem_of

    directory = _existing(data or Settings.from_environment().data)
    filesystem = filesystem_of(directory)
    if filesystem in MEMORY_FILESYSTEMS:
        raise CommandFailed(
            f"{directory} is in memory ({filesystem}), where fsync costs nothing. "
            "Name a directory on a disk with --data."
        )
    return directory


@contextlib.contextmanager
def reporting_quietly() -> Generator[Callable[[str, float], None]]:
    """Show a progress bar for a bench whose libraries are to be imported in the block.

    Those libraries read the environment once. Ray and vLLM print progress to standard output, where only
    results belong.
    """
    enter_quiet_environment()
    with reporting() as report, contextlib.redirect_stdout(sys.stderr):
        yield report


def _existing(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    directory = directory.absolute()
    return next(path for path in (directory, *directory.parents) if path.is_dir())


def show(report: "BenchReport", *, as_json: bool) -> None:
    if as_json:
        print_json(report.body())
    else:
        report.print(out)


def choices(text: str, option: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a list, in the order in which they are known."""
    found = {part.strip() for part in text.split(",")}
    if unknown := sorted(found.difference(known)):
        raise typer.BadParameter(f"{option} takes {', '.join(known)}, comma separated, not {unknown[0]!r}")
    return tuple(word for word in known if word in found)


def numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{option} takes whole numbers, comma separated: {text!r}") from None
    if min(found) < 1:
        raise typer.BadParameter(f"{option} takes numbers of at least 1: {text!r}")
    return found


def positive(text: str, option: str, *, at_most: float = math.inf) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{option} takes numbers, comma separated: {text!r}") from None
    if not all(0 < number <= at_most and math.isfinite(number) for number in found):
        bound = "" if at_most == math.inf else f" and up to {at_most:g}"
        raise typer.BadParameter(f"{option} takes numbers above 0{bound}: {text!r}")
    return found

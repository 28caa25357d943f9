"""The consoles of the command line: one for results, one for progress and errors."""

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from populace.policies.ingestion import ADDED_ROLE
from populace.storage.records.errors import PopulaceError

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

# People's words are printed as they are: without this ":key:" becomes a picture, also outside of markup.
out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


class CommandFailed(Exception):
    """A command failed; the message is a sentence for the person who typed it."""


def print_json(value: Any) -> None:
    """Print one JSON value for a script to read."""
    text = json.dumps(value, ensure_ascii=False)
    # Half a character, as the name of a file that is no UTF-8 has, would be an error here.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def print_turn(turn: dict[str, Any]) -> None:
    """Print one interaction of a log in a line. What people wrote is text, never markup."""
    if turn["forgotten"]:
        out.print(f"[dim]{turn['position']:>5} forgotten[/]", highlight=False)
        return
    asked = turn["messages"][-1]
    if asked["role"] == "forget":
        told = json.loads(asked["content"])
        positions = ", ".join(str(position) for position in told["positions"])
        turns = "turn" if len(told["positions"]) == 1 else "turns"
        out.print(f"[dim]{turn['position']:>5} had {turns} {positions} forgotten[/]", highlight=False)
    elif asked["role"] == "conversation":
        out.print(
            f"[dim]{turn['position']:>5} kept of a conversation {escape(asked['content'])}[/]",
            highlight=False,
        )
    elif turn["messages"][0]["role"] == ADDED_ROLE:
        said = escape(repr(asked["content"]))
        out.print(f"[dim]{turn['position']:>5} added to a conversation[/] {said}", highlight=False)
    elif asked["role"] == "memory":
        out.print(f"[dim]{turn['position']:>5} set the memory {escape(asked['content'])}[/]", highlight=False)
    else:
        replied = "no reply" if turn["finish_reason"] is None else repr(turn["reply"])
        said = escape(f"{asked['content']!r} → {replied}")
        out.print(f"[dim]{turn['position']:>5}[/] {said}", highlight=False)


def program() -> str:
    """Return how to type this command here: ``populace`` if that is on the PATH, else with its path."""
    if shutil.which("populace") is not None:
        return "populace"
    own = Path(sys.argv[0])
    if own.name != "populace":
        return f"{sys.executable} -m populace"
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)


def local_time(seconds: int) -> str:
    """Format seconds since the epoch as local time, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def counted(number: int, noun: str) -> str:
    """Format a count with its noun: ``1 model``, ``2,000 models``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def fail(message: str) -> NoReturn:
    """Print the error and exit with status 1."""
    _print_error(message)
    raise typer.Exit(1)


@contextlib.contextmanager
def named_errors() -> Generator[None]:
    """Turn the errors that Populace raises on purpose into a line for a person and status 1.

    The same is done for a package that is missing because only the client was installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("populace"):
            raise
        message = f"This takes {error.name}: pip install 'populace[serve]', or 'populace[cpu]' with vLLM."
        _fail(message, error)
    except (PopulaceError, CommandFailed) as error:
        _fail(str(error), error)
    except PermissionError as error:
        _fail(f"{error.filename} cannot be read by you{_owned(error.filename)}.", error)


def _owned(path: object) -> str:
    """Say whose a file is, as far as that can be seen."""
    try:
        return f": it is {Path(str(path)).owner()}'s. Run this as that user"
    except (OSError, KeyError):
        return ""


def _fail(message: str, error: Exception) -> NoReturn:
    _print_error(message)
    raise typer.Exit(1) from error


def _print_error(message: str) -> None:
    """Print the message as it is: it may quote what a person typed."""
    err.print("[bold red]Error:[/]", end=" ")
    err.print(message, highlight=False, markup=False)


def warn(message: str) -> None:
    """Say what may be wrong and ends nothing."""
    err.print(message, style="yellow", soft_wrap=True, highlight=False, markup=False)


def progress(*more: "ProgressColumn") -> "Progress":
    """Make a progress display for work longer than a second; it is drawn on standard error.

    ``more`` columns come after the usual ones.
    """
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        *more,
        console=err,
        transient=True,
    )


@contextlib.contextmanager
def reporting() -> Generator[Callable[[str, float], None]]:
    """Show a progress display; yields what moves it, given the step and the share done, 0 to 1.

    Where standard error is no terminal, each new step is a line with the time of day.
    """
    with progress() as display:
        task = display.add_task("Starting", total=1.0)
        last = ""

        def report(step: str, fraction: float) -> None:
            nonlocal last
            display.update(task, description=step, completed=fraction)
            if not err.is_terminal and step != last:
                last = step
                err.print(f"{datetime.now().astimezone():%H:%M:%S} {fraction:4.0%} {step}", highlight=False)

        yield report


def stop_at_signals() -> None:
    """Raise ``KeyboardInterrupt`` at Ctrl-C, SIGTERM, and the end of the terminal unless under ``nohup``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt_once)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt_once)


def interrupt_once(signal_number: int, frame: FrameType | None) -> None:
    """Stop at the first signal; a second one must not break the stopping."""
    del signal_number, frame
    ignore_signals()
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Have the signals that end a program change nothing from here on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

"""``populace logs``: what all processes of a Populace logged, in one order."""

import contextlib
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from populace.cli.arguments import Data
from populace.cli.console import CommandFailed, err, named_errors, out, print_json
from populace.settings.settings import Settings
from populace.telemetry.lines import Line, text_of, timestamp
from populace.telemetry.options import LOGS_DIRECTORY
from populace.telemetry.reading import LEVELS, Logs, Selection

FOLLOW_SECONDS = 0.3
NO_LINE = (
    "No line belongs to {}. Of what went well little is logged; where its time went is in its trace "
    "(`populace trace`), unless the server runs with POPULACE_TELEMETRY=off."
)
STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION = re.compile(r"(\d{1,6})([smhd])")


def logs(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on, until Ctrl-C.")
    ] = False,
    process: Annotated[
        str | None,
        typer.Option(help="Only processes of this kind, such as host, or one of them, such as host-0."),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="The lowest level: debug, info, warning, error or critical.")
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(help="Only what belongs to the request of this id, a response's X-Request-Id."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only from then on: 30s, 10m, 2h, 3d, or a local time such as 2026-11-29T16:00."),
    ] = None,
    data: Data = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the lines as they are: JSON objects.")
    ] = False,
) -> None:
    """Show the logs of all processes of this machine's Populace, merged by time.

    It reads their files, so that it works while nothing is served, too.

    Examples:
        populace logs --since 10m --level warning
        populace logs -f --process host
        populace logs --request req_6b1f0f6c1d9f4a0f8a52f1c3f7f2a9d4
    """
    with named_errors():
        directory = Settings.from_environment(data=data).data / LOGS_DIRECTORY
        if level is not None and level not in LEVELS:
            raise CommandFailed(f"There is no level {level!r}; there are {', '.join(LEVELS)}.")
        selection = Selection(process, level, request, None if since is None else _timestamp(since))
        with contextlib.suppress(KeyboardInterrupt), Logs(directory, selection) as found:
            found.look()
            if not found.names and not follow:
                raise CommandFailed(_nothing(directory, process))
            is_empty = True
            while True:
                for line in found.read():
                    _print(line, as_json=as_json)
                    is_empty = False
                # Into a pipe they would wait until 8 kB have gathered.
                sys.stdout.flush()
                if not follow:
                    if request is not None and is_empty:
                        err.print(NO_LINE.format(request), highlight=False, soft_wrap=True)
                    return
                time.sleep(FOLLOW_SECONDS)


def _print(line: Line, *, as_json: bool) -> None:
    if as_json:
        print_json(line)
    else:
        out.print(Text(text_of(line), style=STYLES.get(str(line.get("level")), "")), soft_wrap=True)


def _nothing(directory: Path, process: str | None) -> str:
    everything = Logs(directory)
    everything.look()
    if process is not None and everything.names:
        return f"No process {process!r} logs in {directory}; there are {', '.join(everything.names)}."
    return (
        f"There are no logs in {directory} yet: `populace serve` writes them there. Name another data "
        "directory with --data, or with POPULACE_DATA."
    )


def _timestamp(since: str) -> str:
    """Return the moment that ``--since`` means, as lines have theirs."""
    ago = DURATION.fullmatch(since)
    try:
        if ago is not None:
            moment = datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        else:
            moment = datetime.fromisoformat(since).astimezone()
        return timestamp(moment.timestamp())
    except (ValueError, OverflowError):
        message = f"--since {since!r} is neither a time such as 2026-11-29T16:00 nor one ago, such as 10m."
        raise CommandFailed(message) from None

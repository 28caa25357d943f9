"""``populace trace``: which requests there were, and what the processes did for one, as a tree with times."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.segment import Segments
from rich.text import Text
from rich.tree import Tree

from populace.actors.span_names import HTTP_ROUTE, HTTP_STATUS, REQUEST_ID
from populace.cli.arguments import Data
from populace.cli.console import CommandFailed, err, named_errors, out, print_json
from populace.settings.settings import Settings
from populace.telemetry.options import LOGS_DIRECTORY, TRACES_DIRECTORY
from populace.telemetry.reading import Logs, Selection
from populace.telemetry.trace_files import TraceSpan, has_traces, requests_in, spans_of_request

CONSOLE_PATH = "/console"
"""The routes of the console's own files, which are not listed."""
LISTED = 20
BAR_CELLS_MIN = 8
BAR_CELLS_MAX = 40
SPACES_CELLS = 10
"""What the two times have around them, and the spaces between the columns."""
WIDTH_MAX = 400
DEPTH_MAX = 24
GUIDE_CELLS = 4
"""What rich draws before each level of a tree."""


def trace(
    request: Annotated[
        str | None,
        typer.Argument(
            help="A response's X-Request-Id, or the id of a training job's log lines. Without it the newest "
            "requests are listed."
        ),
    ] = None,
    slowest: Annotated[
        bool, typer.Option("--slowest", help="List the requests that took longest, and not the newest.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="List only requests that failed.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most requests that are listed.")] = LISTED,
    attributes: Annotated[
        bool, typer.Option("--attributes", "-a", help="Show the attributes of each span, too.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the traces. Default: that of POPULACE_TELEMETRY, or traces/ of the data."
        ),
    ] = None,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the spans as JSON objects.")] = False,
) -> None:
    """Show where the time of a request went, in all processes of this machine's Populace, or list requests.

    It reads the files that `populace serve` writes unless POPULACE_TELEMETRY says otherwise.

    Examples:
        populace trace --slowest
        populace trace req_6b1f0f6c1d9f4a0f8a52f1c3f7f2a9d4
        populace trace req_6b1f0f6c1d9f4a0f8a52f1c3f7f2a9d4 --attributes
        populace trace job-3f2a9d4c1b0e8f77.5d1c9a7be2403f68-0
    """
    with named_errors():
        settings = Settings.from_environment(data=data)
        place = folder or trace_folder(settings)
        if request is None:
            _list(settings, place, slowest=slowest, failed=failed, limit=limit, as_json=as_json)
            return
        spans = spans_of_request(place, request)
        if not spans:
            raise CommandFailed(_no_traces(settings, place) or _no_trace(settings, place, request))
        if as_json:
            for span in spans:
                print_json(asdict(span))
            return
        for tree in drawn(spans, out.width, with_attributes=attributes):
            # Wider than a narrow terminal rather than cut off: it is what was asked for. Of a tree, print()
            # would make rows of the console's width.
            options = out.options.update(width=max(out.width, WIDTH_MAX))
            out.print(Segments(out.render(tree, options)), soft_wrap=True, end="")


def trace_folder(settings: Settings) -> Path:
    """Return the folder to which a Populace with these settings writes traces, if it writes any."""
    kind, target = settings.trace_target or ("file", "")
    return Path(target) if kind == "file" and target else settings.data / TRACES_DIRECTORY


def drawn(spans: Sequence[TraceSpan], cells: int, *, with_attributes: bool = False) -> list[Tree]:
    """Draw a tree for each trace, and for each part of one whose beginning is not there.

    The rows fill ``cells`` of the terminal, or are longer if that is too narrow.
    """
    below: dict[str, list[TraceSpan]] = {}
    known = {span.span_id for span in spans}
    for span in spans:
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    rows = list(_walk(below))
    columns = _Columns(
        name=max(GUIDE_CELLS * depth + len(span.name) for span, depth in rows),
        process=max(len(span.process) for span in spans),
        began_ns=min(span.began_ns for span in spans),
        ended_ns=max(span.ended_ns for span in spans),
        cells=cells,
    )

    trees: list[Tree] = []
    above: list[Tree] = []
    for span, depth in rows:
        row = columns.row(span, depth, with_attributes=with_attributes)
        del above[depth:]
        tree = above[-1].add(row) if above else Tree(row)
        above.append(tree)
        if not depth:
            trees.append(tree)
    return trees


def _walk(below: Mapping[str, list[TraceSpan]]) -> Iterator[tuple[TraceSpan, int]]:
    """Yield all spans with how deep they are drawn, each before those below it.

    A span deeper than ``DEPTH_MAX`` is drawn at that depth: requests that join each other's traces can be
    thousands deep.
    """
    left = [(root, 0) for root in reversed(below[""])]
    while left:
        span, depth = left.pop()
        yield span, depth
        left += [(child, min(depth + 1, DEPTH_MAX)) for child in reversed(below.get(span.span_id, ()))]


class _Columns(NamedTuple):
    """How wide the columns are, and what the bars are parts of."""

    name: int
    process: int
    began_ns: int
    ended_ns: int
    cells: int

    @property
    def time(self) -> int:
        """The cells of a time in milliseconds: a training lasts for hours."""
        return max(9, len(f"{(self.ended_ns - self.began_ns) / 1e6:.1f}"))

    def row(self, span: TraceSpan, depth: int, *, with_attributes: bool) -> Text:
        style = "" if span.error is None else "red"
        text = Text(span.name.ljust(self.name - GUIDE_CELLS * depth), style=style)
        text.append(f"  {span.process:<{self.process}}", "dim")
        times = ((span.began_ns - self.began_ns) / 1e6, span.seconds * 1000)
        text.append("".join(f" {time:>{self.time}.1f}" for time in times) + " ms  ")
        text.append(self._bar(span), style or "cyan")
        if span.error is not None:
            text.append(f" {span.error}", "bold red")
        if span.links:
            text.append(f" {len(span.links)} linked", "dim")
        for name, value in sorted(span.attributes.items()) if with_attributes else ():
            told = ", ".join(value) if isinstance(value, tuple) else value
            text.append(f"\n  {name} = {told}", "dim")
        return text

    def _bar(self, span: TraceSpan) -> str:
        left = self.cells - self.name - self.process - 2 * self.time - SPACES_CELLS
        cells = min(BAR_CELLS_MAX, max(BAR_CELLS_MIN, left))
        whole_ns = max(1, self.ended_ns - self.began_ns)
        start = min(cells - 1, round((span.began_ns - self.began_ns) / whole_ns * cells))
        end = max(start + 1, round((span.ended_ns - self.began_ns) / whole_ns * cells))
        return "·" * start + "━" * (end - start) + "·" * (cells - end)


def _list(
    settings: Settings, folder: Path, *, slowest: bool, failed: bool, limit: int, as_json: bool
) -> None:
    """Print the requests that are in the traces, the newest or the slowest last, as a log has it."""
    if nothing := _no_traces(settings, folder):
        raise CommandFailed(nothing)
    found: dict[str, TraceSpan] = {}
    for span in requests_in(folder):
        if str(span.attributes.get(HTTP_ROUTE, "")).startswith(CONSOLE_PATH):
            continue
        request = str(span.attributes[REQUEST_ID])
        # A training has spans of its parts, too, and the whole began first.
        if request not in found or span.began_ns < found[request].began_ns:
            found[request] = span
    if failed:
        found = {request: span for request, span in found.items() if span.error is not None}
    listed = sorted(found.values(), key=lambda span: span.seconds if slowest else span.began_ns)[-limit:]
    if as_json:
        for span in listed:
            print_json(asdict(span))
        return
    if not listed:
        err.print(f"No request{' that failed' if failed else ''} is in the traces of {folder}.")
        return
    for span in listed:
        began = datetime.fromtimestamp(span.began_ns / 1e9).astimezone()
        status = span.error or str(span.attributes.get(HTTP_STATUS, ""))
        row = Text(f"{began:%Y-%m-%d %H:%M:%S} {span.seconds:>9.3f} s  ")
        row.append(f"{status:<4}", "" if span.error is None else "red")
        row.append(f" {span.attributes[REQUEST_ID]}  {span.name}")
        # Whole, also in a narrow terminal: an id is to be copied.
        out.print(row, soft_wrap=True)
    out.print("`populace trace REQUEST` shows where the time of one went.", style="dim", highlight=False)


def _no_traces(settings: Settings, folder: Path) -> str | None:
    """Say why there are no traces at all; None if there are any."""
    if has_traces(folder):
        return None
    if settings.trace_target is not None and settings.trace_target[0] != "file":
        where = f"they go elsewhere, as POPULACE_TELEMETRY is {settings.telemetry}."
    else:
        where = (
            "`populace serve` has not served with this data yet, or with POPULACE_TELEMETRY=off or "
            "another folder for its traces, which --folder names."
        )
    return f"There are no traces in {folder}: {where}"


def _no_trace(settings: Settings, folder: Path, request: str) -> str:
    """Say why the traces have nothing of a request."""
    with Logs(settings.data / LOGS_DIRECTORY, Selection(request_id=request)) as logs:
        is_logged = any(True for _ in logs.read())
    if is_logged:
        return (
            f"The request {request} was served, and its trace is not in {folder}: it was not sampled "
            "(POPULACE_TELEMETRY_SAMPLE), it has not ended yet, or its files have turned over since. "
            f"`populace logs --request {request}` shows what was logged."
        )
    return (
        f"No request {request} is in the traces of {folder}. Its id is the X-Request-Id of its response; one "
        "whose traceparent ends in -00 was not sampled (POPULACE_TELEMETRY_SAMPLE)."
    )

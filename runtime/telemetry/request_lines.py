"""Finds the lines of one request in the logs of all processes, for whoever sent it.

``populace logs --request`` reads every line, for the operator of the machine. This answers over the network,
so the search ends at limits. A line counts only if its ``tenant`` is the one who asks.
"""

from populace.actors.request_log import LogLine
from populace.telemetry.file_search import FileSearch
from populace.telemetry.lines import Line, json_of
from populace.telemetry.reading import parsed_line


def lines_of_request(search: FileSearch, request_id: str, tenant: str) -> tuple[LogLine, ...]:
    """Find the lines of a tenant's request, by time; ``tenant`` is its keyed hash, as lines have it.

    If a limit ends the search, what the newest files have is there.
    """
    lines_max = search.limits.found_max
    found: list[LogLine] = []
    # As a line has it, but for the braces; within a text the quotation marks would be escaped.
    written = json_of({"request_id": request_id})[1:-1].encode()
    for lines in search.blocks([written]):
        ours = (line for line in map(parsed_line, lines) if line is not None)
        found += [
            _told(line)
            for line in ours
            if line.get("request_id") == request_id and line.get("tenant") == tenant
        ]
        if len(found) > lines_max:
            search.is_whole = False
            break
    return tuple(sorted(found, key=lambda line: line.at)[-lines_max:])


def _told(line: Line) -> LogLine:
    """Return what of a line leaves the machine: of a stack its last row, the type that was raised."""
    stack = str(line.get("exc", "")).splitlines()
    return LogLine(
        at=line["ts"],
        level=str(line.get("level", "")),
        logger=str(line.get("logger", "")),
        message=str(line.get("msg", "")),
        process=str(line.get("process", "")),
        number=int(line.get("number", 0)),
        error_code=line.get("error.code"),
        raised=stack[-1] if stack else None,
    )

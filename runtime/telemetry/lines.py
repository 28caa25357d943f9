"""A line of a log: a flat JSON object, made where the record is and in its task."""

import json
import logging
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from populace.storage.records.errors import PopulaceError
from populace.telemetry.calls import current_caller
from populace.telemetry.wording import Wording

OURS = "populace"
MESSAGE_CHARACTERS_MAX = 4000
STACK_CHARACTERS_MAX = 12_000
"""The end of a longer stack is kept: it says what was raised."""

Line = dict[str, Any]

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
"""What ``timestamp`` makes."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey."""


class Lines:
    """Makes the lines of one process, which has a kind and a number."""

    def __init__(self, process: str, number: int, wording: Wording) -> None:
        self._process = process
        self._number = number
        self._wording = wording

    def of(self, record: logging.LogRecord) -> Line:
        """Make the line of a record, for the request of the current task."""
        caller = current_caller()
        error = _error_in(record)
        raised = record.exc_info[1] if record.exc_info else None
        line: Line = {
            "ts": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": self._message(record)[:MESSAGE_CHARACTERS_MAX],
            "process": self._process,
            "number": self._number,
            "pid": os.getpid(),
            "request_id": caller.request_id,
            "trace_id": caller.trace_id,
            "span_id": caller.span_id,
            "tenant": caller.tenant,
            "error.code": error.code if isinstance(error, PopulaceError) else None,
            "exc": None if raised is None else self._wording.stack(raised)[-STACK_CHARACTERS_MAX:],
        }
        return {name: value for name, value in line.items() if value is not None}

    def _message(self, record: logging.LogRecord) -> str:
        is_ours = is_our(record.name)
        # Another library may have put anything into the text itself, mostly after its first line.
        template = str(record.msg) if is_ours else str(record.msg).partition("\n")[0]
        if not is_ours and record.exc_info and not record.args:
            # f"It failed: {error}", where the error may quote what was said. The stack says what it was.
            template = template.partition(": ")[0]
        worded = self._wording.argument if is_ours else self._wording.foreign
        try:
            if isinstance(record.args, Mapping):
                return template % {name: worded(value) for name, value in record.args.items()}
            return template % tuple(worded(value) for value in record.args) if record.args else template
        except (TypeError, ValueError, KeyError):  # a number was expected where none may be written
            return template


def is_our(logger: str) -> bool:
    """Return whether a logger of this name is Populace's own."""
    return logger == OURS or logger.startswith(f"{OURS}.")


def timestamp(seconds: float) -> str:
    """Format seconds since the epoch so that the order of the texts is that of the times."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def json_of(line: Line) -> str:
    return json.dumps(line, ensure_ascii=False, default=str)


def moment_of(line: Mapping[str, Any]) -> datetime | None:
    """Return when a line was written, in local time; None if its ``ts`` is no ``timestamp``."""
    written = str(line.get("ts"))
    if TIMESTAMP.fullmatch(written) is None:
        return None
    try:
        return datetime.strptime(written, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).astimezone()
    except (ValueError, OverflowError):
        return None


def text_of(line: Mapping[str, Any]) -> str:
    """Format a line for a person, in local time; a stack comes below it."""
    moment = moment_of(line)
    assert moment is not None, line["ts"]
    place = str(line.get("logger", "")).removeprefix(f"{OURS}.")
    request = f" [{line['request_id']}]" if "request_id" in line else ""
    lost = f" ({line['dropped']} lines before this one are lost)" if "dropped" in line else ""
    head = (
        f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} {line.get('level', ''):<7} "
        f"{line.get('process', '')}-{line.get('number', '')} {place}: {line.get('msg', '')}{request}{lost}"
    )
    stack = "".join(f"\n    {row}" for row in str(line["exc"]).splitlines()) if "exc" in line else ""
    # Half a character, as in the name of a file that is no UTF-8, cannot be printed.
    return _CONTROLS.sub("�", head + stack).encode("utf-8", "backslashreplace").decode()


def _error_in(record: logging.LogRecord) -> object:
    """Return the error that a record is about: the raised one, or the last of its arguments that is one."""
    if record.exc_info and record.exc_info[1] is not None:
        return record.exc_info[1]
    given = record.args if isinstance(record.args, tuple) else ()
    return next((value for value in reversed(given) if isinstance(value, BaseException)), None)

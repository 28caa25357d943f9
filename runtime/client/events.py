"""Server-sent events of a gateway, line by line."""

import json
from typing import Any

from populace.client.remote_errors import error_of

FIELD = "data: "
END = "data: [DONE]"


def event_in(line: str) -> dict[str, Any] | None:
    """Return the object of an event's line; None for a line without one. Raises the error that it is."""
    if not line.startswith(FIELD) or line == END:
        return None
    told: dict[str, Any] = json.loads(line.removeprefix(FIELD))
    if "error" in told:
        raise error_of(told["error"])
    return told

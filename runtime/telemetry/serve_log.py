"""Puts Ray Serve's own log of our replicas under our rules; it has handlers and files of its own.

It logs each error that leaves a replica with its message and all of its causes, which may quote what was
said, and a line for each call.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from typing import Any

from populace.telemetry.wording import Wording

SERVE_LOGGING: dict[str, Any] = {"log_level": "WARNING", "enable_access_log": False}
"""The ``logging_config`` of our deployments. That of ``serve.start`` does not reach them."""

SERVE_LOGGER = logging.getLogger("ray.serve")


@contextmanager
def kept_serve_log() -> Generator[None]:
    """Give Serve's log its files back after the block, in which a library may configure logging.

    ``logging.config.dictConfig``, which vLLM calls when it is imported and when it starts, closes all
    handlers of its process, and Serve's then have no file. What Serve logged of a replica was lost; and a new
    controller, which asks each replica for the name of that file, stopped replicas that were well.
    """
    handlers = [handler for handler in SERVE_LOGGER.handlers if isinstance(handler, MemoryHandler)]
    files = [handler.target for handler in handlers]
    try:
        yield
    finally:
        for handler, file in zip(handlers, files, strict=True):
            handler.setTarget(file)


class ServeErrors(logging.Filter):
    """Leaves of an error in a record where it was raised, and takes its words out."""

    def __init__(self, wording: Wording) -> None:
        super().__init__()
        self._wording = wording

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            first = str(record.msg).partition("\n")[0]
            record.msg, record.args = f"{first}\n{self._wording.stack(error)}", None
            record.exc_info = record.exc_text = None
        return True

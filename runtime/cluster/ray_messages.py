# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""What Ray says of nodes and processes that ended: a line in the log, and no page on the terminal."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ray._private import worker

logger = logging.getLogger(__name__)

LINE_MAX = 200


def log_messages() -> None:
    """Log what Ray would print of its own accord, the first words of each message. For a driver."""
    # There is no setting for it: ``log_to_driver`` is about the output of workers.
    worker.print_to_stdstream = _log


@contextmanager
def messages_dropped() -> Generator[None]:
    """Drop what Ray says during the block, in which what it names is ended on purpose."""
    former = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(former)


def _log(data: dict[str, Any], ignore_prefix: bool) -> None:
    del ignore_prefix
    for message in data["lines"]:
        words = " ".join(str(message).split())
        logger.warning("Ray: %s", words if len(words) <= LINE_MAX else f"{words[:LINE_MAX]}…")

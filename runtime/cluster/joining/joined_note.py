"""The note that ``populace node join`` keeps among the configuration while this machine is in a cluster."""

import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

import psutil

logger = logging.getLogger(__name__)

FILE_NAME = "joined.json"


class Joined(NamedTuple):
    """The cluster that this machine is a node of, the node's name there, and the process that keeps it.

    ``parts`` are what it takes part in.
    """

    address: str
    node: str
    pid: int
    parts: tuple[str, ...]


def write_joined(config: Path, joined: Joined) -> None:
    """Write the note. Where it cannot be, as in a container without a home, only the doctor lacks it."""
    temporary = config / f"{FILE_NAME}.{os.getpid()}"
    try:
        config.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.write_text(json.dumps(joined._asdict(), indent=2))
        temporary.replace(config / FILE_NAME)
    except OSError as error:
        logger.warning("`populace doctor` will not know of this cluster: %s", error)


def remove_joined(config: Path) -> None:
    """Remove the note, if it is this process's own."""
    joined = read_joined(config)
    if joined is not None and joined.pid == os.getpid():
        (config / FILE_NAME).unlink(missing_ok=True)


def read_joined(config: Path) -> Joined | None:
    """Read the note of a process that still runs."""
    try:
        content = json.loads((config / FILE_NAME).read_text())
        joined = Joined(**content | {"parts": tuple(content["parts"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return joined if psutil.pid_exists(joined.pid) else None

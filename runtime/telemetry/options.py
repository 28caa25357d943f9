"""The options of telemetry, which are the same for every process of a Populace."""

from dataclasses import dataclass, field
from pathlib import Path

from populace.settings.settings import LogFormat, LogLevel

LOGS_DIRECTORY = "logs"
"""The logs' folder in the data directory."""


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """What a process tells, and where.

    ``directory`` gets the files, which are always JSON lines. ``log_format`` is that of standard error, None
    for text on a terminal and JSON elsewhere. The names of tenants and models are hashed with ``name_key``
    unless ``names_plain``.
    """

    directory: Path
    name_key: bytes = field(repr=False)
    log_level: LogLevel = "info"
    log_format: LogFormat | None = None
    names_plain: bool = False

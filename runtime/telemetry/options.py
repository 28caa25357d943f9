"""The options of telemetry, which are the same for every process of a Populace."""

from dataclasses import dataclass, field
from pathlib import Path

from populace.settings.settings import LogFormat, LogLevel, TraceKind

LOGS_DIRECTORY = "logs"
"""The logs' folder in the data directory."""

TRACES_DIRECTORY = "traces"
"""The traces' folder in the data directory, unless another one is named."""


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Where spans go: to files in the folder ``target``, to standard error, or by OTLP to the URL ``target``.

    An empty URL is the one in the variables ``OTEL_EXPORTER_OTLP_…``. A ``share`` of the traces is sampled.
    """

    kind: TraceKind
    target: str = ""
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """What a process tells, and where.

    ``directory`` gets the files, which are always JSON lines. ``log_format`` is that of standard error, None
    for text on a terminal and JSON elsewhere. The names of tenants and models are hashed with ``name_key``
    unless ``names_plain``. ``traces`` None: there are none.
    """

    directory: Path
    name_key: bytes = field(repr=False)
    log_level: LogLevel = "info"
    log_format: LogFormat | None = None
    names_plain: bool = False
    traces: TraceOptions | None = None

    @property
    def traces_directory(self) -> Path | None:
        """The folder that gets the traces; None if they are off or go elsewhere."""
        return Path(self.traces.target) if self.traces is not None and self.traces.kind == "file" else None

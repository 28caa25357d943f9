"""The environment of the processes of a running Populace."""

from populace.settings.environment import quiet_environment, telemetry_environment
from populace.settings.ports import ONE_MACHINE_VARIABLE
from populace.settings.ports import VARIABLE as PORTS_VARIABLE
from populace.settings.settings import Settings


def cluster_environment(settings: Settings) -> dict[str, str]:
    """Return the variables of every process; those of OpenTelemetry also where Ray runs already."""
    exports = settings.trace_target is not None or settings.metrics_push_seconds is not None
    ports = {} if settings.stream_ports is None else {PORTS_VARIABLE: settings.stream_ports}
    alone = {} if settings.may_grow else {ONE_MACHINE_VARIABLE: "1"}
    return quiet_environment() | ports | alone | (telemetry_environment() if exports else {})

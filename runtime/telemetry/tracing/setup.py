"""Starts what a process tells of itself: its log, and its traces if they are on."""

import atexit
from collections.abc import Callable

from populace.telemetry.log_setup import log_setup
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.tracing.spans import TRACER, Traces


def telemetry_setup(options: TelemetryOptions | None, process: str, number: int = 0) -> Callable[[], None]:
    """Start the log and the traces of this process, of a kind such as ``host`` and a number.

    Those that were set up before end. Returns what ends these ones; they end with the process by themselves.
    None sets up nothing. Never raises because of the disk or a collector.
    """
    end_log = log_setup(options, process, number)
    if options is None:
        return end_log
    if options.traces is None:
        tracing_setup(None)
        return end_log
    # The SDK is imported only where it is used.
    from populace.telemetry.tracing.provider import start_traces

    traces = start_traces(options, options.traces, process, number)
    if not traces.is_on:
        traces.close()
        tracing_setup(None)
        return end_log
    end_traces = tracing_setup(traces)

    def end() -> None:
        end_traces()
        end_log()

    return end


def tracing_setup(traces: Traces | None) -> Callable[[], None]:
    """Record the spans of this process by ``traces`` from now on; return what ends it. Safe to call twice.

    What recorded them before ends. None records nothing.
    """
    former, TRACER.traces = TRACER.traces, traces
    if former is not None:
        former.close()
    if traces is None:
        return lambda: None

    def end() -> None:
        atexit.unregister(end)
        if TRACER.traces is traces:
            TRACER.traces = None
        traces.close()

    atexit.register(end)
    return end

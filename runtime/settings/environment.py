"""Environment variables for other libraries and child processes, and the few of theirs that are read."""

import os


def quiet_environment(*, allow_hub: bool = False) -> dict[str, str]:
    """Return the variables that stop Ray, vLLM and the model hub from sending usage data.

    They act only if set before the libraries are imported, and have to be passed to Ray's workers too.
    """
    return {
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0" if allow_hub else "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }


def telemetry_environment() -> dict[str, str]:
    """Return the variables of OpenTelemetry, which its SDK reads in every process that exports telemetry."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


OWN_RAY_ENVIRONMENT = {
    # Ray's default niceness of 15 lets anything else on the machine starve engine and gateway.
    "RAY_worker_niceness": "0",
    # Serve's replicas are ours and never block their loop: thread hops for each call, and a
    # controller that looks ten times a second, cost 8 % of the tokens/s at 16 streams on 2 cores.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    # After 10 s without a request Serve asks each replica for its queue first, two requests at a
    # time: 16 at once then waited 1.1 s for their first token instead of 0.65 s.
    "RAY_SERVE_QUEUE_LENGTH_CACHE_TIMEOUT_S": "3600",
    # What these collect is not read: no dashboard runs, and /metrics is the gateway's own. Idle,
    # Ray and Serve took 73 ms of processor time a second with them and take 52 ms without.
    "RAY_event_stats": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
    "RAY_SERVE_EVENT_LOOP_MONITORING_INTERVAL_S": "60",
    # What our processes write to standard error is kept by Ray too, and without these for ever.
    "RAY_ROTATION_MAX_BYTES": "20000000",
    "RAY_ROTATION_BACKUP_COUNT": "4",
    # Idle worker processes for tasks, of which there are none here: everything is an actor.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
"""Environment of a Ray that we start ourselves. A variable that is set already wins."""


def enter_own_ray_environment() -> None:
    """Set the variables of ``OWN_RAY_ENVIRONMENT`` for this process and the Ray that it starts."""
    for name, value in OWN_RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def ask_for_ray_token() -> bool:
    """Make Ray send this user's token unless the environment sets this; returns whether it changed."""
    if "RAY_AUTH_MODE" in os.environ:
        return False
    os.environ["RAY_AUTH_MODE"] = "token"
    return True


def enter_quiet_environment() -> None:
    """Set the variables of ``quiet_environment`` for this process and its children."""
    os.environ.update(quiet_environment())


def process_environment(**changes: str) -> dict[str, str]:
    """Copy this process's environment, with changes, for a child process."""
    return {**os.environ, **changes}


def in_ci() -> bool:
    """Return whether this run is the project's continuous integration."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def loud_variables() -> list[str]:
    """List the variables of ``quiet_environment`` that this process has set to something else."""
    return sorted(name for name, value in quiet_environment().items() if os.environ.get(name, value) != value)

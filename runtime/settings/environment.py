"""Environment variables for other libraries and child processes, and the few of theirs that are read."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path


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
    # A raylet that is gone is known to be after 6 s instead of 16 s: its connections are refused at once.
    # One that answers late is given ten seconds for each of five answers, as before: a machine of its own
    # gains nothing from giving its raylet up, and all of its parts would end.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    # A machine that is busy, or whose disk is slow, starts Ray's server late; Ray itself gives up after 30 s.
    "RAY_gcs_server_port_wait_time_s": "120",
    # What our processes write to standard error is kept by Ray too, and without these for ever.
    "RAY_ROTATION_MAX_BYTES": "20000000",
    "RAY_ROTATION_BACKUP_COUNT": "4",
    # Idle worker processes for tasks, of which there are none here: everything is an actor.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
"""Environment of a Ray that we start ourselves. A variable that is set already wins."""


CLUSTER_RAY_ENVIRONMENT = {
    **OWN_RAY_ENVIRONMENT,
    # A machine that is silent, as without power or cable, is known to be lost after 8 s instead of 55 s: four
    # times a second for an answer and the one before it. Beside 32 busy processes on two cores a raylet
    # answered within 40 ms, one that was stopped for 6 s was kept, and all of Ray stopped for 30 s went on.
    # Less would give up machines that swap, or whose switch starts anew, and their parts have to start again.
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}
"""The same where other machines may join: who is on a lost one waits until it is known to be."""


def enter_own_ray_environment(*, may_grow: bool) -> None:
    """Set the variables of a Ray that this process starts, to which other machines belong or may come."""
    for name, value in (CLUSTER_RAY_ENVIRONMENT if may_grow else OWN_RAY_ENVIRONMENT).items():
        os.environ.setdefault(name, value)


def ask_for_ray_token() -> bool:
    """Make Ray send this user's token unless the environment sets this; returns whether it changed."""
    if "RAY_AUTH_MODE" in os.environ:
        return False
    os.environ["RAY_AUTH_MODE"] = "token"
    return True


@contextmanager
def entered_ray_token(token_file: Path) -> Generator[None]:
    """Have Ray's processes ask for the token in a file, and send it, for the time of the block.

    What the environment says of a token gives way.
    """
    # With RAY_AUTH_TOKEN, a token itself, Ray would not look at the file.
    with lent_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=None, RAY_AUTH_TOKEN_PATH=str(token_file)):
        yield


@contextmanager
def ray_port(port: int | None) -> Generator[None]:
    """Make a Ray that is started in the block listen for other machines at this port; None is any port."""
    with lent_environment(RAY_GCS_SERVER_PORT=None if port is None else str(port)):
        yield


@contextmanager
def named_config_file(file: Path | None) -> Generator[None]:
    """Have the processes that are started in the block read this file of settings; None changes nothing.

    An option of the command line reaches them in no other way, and they read what is a node's own.
    """
    if file is None:
        yield
    else:
        with lent_environment(POPULACE_CONFIG_FILE=str(file)):
            yield


def enter_quiet_environment() -> None:
    """Set the variables of ``quiet_environment`` for this process and its children."""
    os.environ.update(quiet_environment())


@contextmanager
def lent_environment(**variables: str | None) -> Generator[None]:
    """Set variables of this process for the block, for libraries that read theirs; None takes one away."""
    former = {name: os.environ.get(name) for name in variables}
    _set_variables(variables)
    try:
        yield
    finally:
        _set_variables(former)


def process_environment(**changes: str) -> dict[str, str]:
    """Copy this process's environment, with changes, for a child process."""
    return {**os.environ, **changes}


def in_ci() -> bool:
    """Return whether this run is the project's continuous integration."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def loud_variables() -> list[str]:
    """List the variables of ``quiet_environment`` that this process has set to something else."""
    return sorted(name for name, value in quiet_environment().items() if os.environ.get(name, value) != value)


def _set_variables(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

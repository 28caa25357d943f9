# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray's API is partly untyped.
"""Runs the applications of a Populace on Ray Serve, and deletes those and no others."""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray import serve
from ray.serve._private.common import DeploymentID
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from populace.actors.errors import StartFailed

START_SECONDS_MAX = 1800.0
"""How long an application may take to run. An engine that compiles a large base takes many minutes."""

POLL_SECONDS = 0.2
_WAITS = "taken more than"
"""What Serve says in the message of a deployment whose replicas do not get their resources, after 30 s."""


def deploy(
    application: serve.Application,
    name: str,
    report: Callable[[str], None],
    *,
    seconds_max: float = START_SECONDS_MAX,
) -> None:
    """Run an application and wait until it is healthy.

    ``report`` is told what it waits for. Raises ``StartFailed`` with the replica's error, or if the
    application is not there after ``seconds_max``, because the cluster lacks what it needs for example.
    """
    begin(application, name)
    give_up = time.monotonic() + seconds_max
    told: set[str] = set()
    while True:
        found = serve.status().applications.get(name)
        problem = _problem_of(found)
        status = None if found is None else found.status
        if status == ApplicationStatus.RUNNING:
            return
        if status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise StartFailed(name, problem)
        if time.monotonic() >= give_up:
            free = ", ".join(f"{count:g} {kind}" for kind, count in _resources().items())
            late = f"it does not run after {seconds_max:.0f} s; the cluster has {free}"
            raise StartFailed(name, f"{late}\n{problem}".strip())
        if _WAITS in problem and problem not in told:
            told.add(problem)
            report(problem)
        time.sleep(POLL_SECONDS)


def begin(application: serve.Application, name: str) -> None:
    """Run an application without waiting for it."""
    serve.run_many(
        [serve.RunTarget(application, name=name, route_prefix=None, external_scaler_enabled=True)],
        wait_for_applications_running=False,
    )


def end(name: str) -> None:
    """Delete an application without waiting for its end, as it may be on a machine that is lost."""
    serve.delete(name, _blocking=False)


def scale(name: str, deployment: str, replicas: int) -> None:
    """Change the number of replicas of a running deployment; those that go on are not restarted.

    A deployment that is run anew would be another version to Serve, and replace them one by one.
    """
    client: Any = _get_global_client()
    # Serve's own scaling over HTTP takes this way, too; that needs Ray's dashboard.
    ray.get(client._controller.update_deployment_replicas.remote(DeploymentID(deployment, name), replicas))


def delete(names: Iterable[str]) -> None:
    """Delete these applications and those of joined machines, which are ``NAME-…``, if they run.

    Serve ends with the last application of the cluster.
    """
    wanted = tuple(names)
    for name in serve.status().applications:
        if any(name == one or name.startswith(f"{one}-") for one in wanted):
            with contextlib.suppress(Exception):
                serve.delete(name)
    if not serve.status().applications:
        serve.shutdown()


def _problem_of(found: ApplicationStatusOverview | None) -> str:
    if found is None:
        return ""
    messages = [deployment.message for deployment in found.deployments.values() if deployment.message]
    return "\n".join(messages) or found.message


def _resources() -> dict[str, float]:
    """The processors, GPUs and labelled resources of the cluster, without what Ray adds for its own use."""
    return {
        kind: count
        for kind, count in ray.cluster_resources().items()
        if not kind.startswith("node:") and "memory" not in kind
    }

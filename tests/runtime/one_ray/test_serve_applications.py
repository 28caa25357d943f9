# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A start that cannot succeed says so, and a stop leaves the applications of others alone."""

import time
from collections.abc import Generator
from typing import Any

import pytest
from ray import serve
from ray.serve._private.common import ReplicaState
from ray.serve.schema import ApplicationStatus
from ray.util import list_named_actors

from populace.actors.errors import StartFailed
from populace.cluster.serve_applications import delete, deploy, scale

pytestmark = pytest.mark.ray


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Answers:
    pass


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Fails:
    def __init__(self) -> None:
        raise ValueError("the base is missing")


@pytest.fixture(scope="module", autouse=True)
def running(shared_ray: None) -> Generator[None]:
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()


def deploy_quickly(application: serve.Application, name: str) -> list[str]:
    told = list[str]()
    deploy(application, name, told.append, seconds_max=60)
    return told


def test_an_application_that_runs_is_waited_for_and_only_what_is_named_is_deleted() -> None:
    assert deploy_quickly(Answers.bind(), "ours") == []
    deploy_quickly(Answers.bind(), "theirs")

    delete(["ours", "never-there"])

    found = serve.status().applications
    assert {name: one.status for name, one in found.items()} == {"theirs": ApplicationStatus.RUNNING}
    serve.delete("theirs")


@pytest.mark.release("cluster")
def test_another_number_of_replicas_restarts_none_of_those_that_run() -> None:
    deploy_quickly(Answers.options(graceful_shutdown_wait_loop_s=0).bind(), "grows")
    first = replicas_of("grows")

    scale("grows", "Answers", 2)

    assert first < wait_for_replicas("grows", 2)
    serve.delete("grows")


def replicas_of(application: str) -> frozenset[str]:
    """The names of an application's replicas that run."""
    named: Any = list_named_actors(all_namespaces=True)
    return frozenset(actor["name"] for actor in named if f"{application}#" in actor["name"])


def wait_for_replicas(application: str, number: int) -> frozenset[str]:
    while True:
        deployments = serve.status().applications[application].deployments
        running = deployments["Answers"].replica_states.get(ReplicaState.RUNNING, 0)
        found = replicas_of(application)
        if running == len(found) == number:
            return found
        time.sleep(0.1)


@pytest.mark.release("cluster")
def test_the_error_of_a_replica_is_the_reason_that_the_start_failed() -> None:
    with pytest.raises(StartFailed, match="the base is missing"):
        deploy_quickly(Fails.bind(), "fails")
    delete(["fails"])
    serve.start(proxy_location="Disabled")


def test_what_the_cluster_lacks_is_not_waited_for_without_end() -> None:
    wants = Answers.options(ray_actor_options={"resources": {"a-thing": 1}})
    with pytest.raises(StartFailed, match=r"does not run after 1 s; the cluster has .*2 CPU"):
        deploy(wants.bind(), "wants", print, seconds_max=1)
    delete(["wants"])

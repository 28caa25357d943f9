# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A start that cannot succeed says so, and a stop leaves the applications of others alone."""

from collections.abc import Generator

import pytest
from ray import serve
from ray.serve.schema import ApplicationStatus

from populace.actors.errors import StartFailed
from populace.cluster.serve_applications import delete, deploy
from tests.actors.populations import ray_running

pytestmark = pytest.mark.ray


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Answers:
    pass


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Fails:
    def __init__(self) -> None:
        raise ValueError("the base is missing")


@pytest.fixture(scope="module", autouse=True)
def running() -> Generator[None]:
    with ray_running():
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

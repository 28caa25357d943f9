"""Which machines run engines, how many replicas each, of which kind; and what is said when that changes."""

from typing import Any

import pytest

from populace.actors.engine import EngineKind
from populace.cluster.engine_watch import change_between
from populace.cluster.nodes import engine_nodes
from populace.engines.engine_nodes import ENGINE_LABELS, EngineNodes, wanted_on
from populace.hosting.store_node import STORE_LABELS
from populace.settings.device_settings import EngineDevice

STORE = {"populace.store": "true"}
ENGINE = {"populace.engine": "true"}


def node(labels: dict[str, str], *, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    """A node as Ray describes it."""
    resources = {"CPU": 4.0} | ({"GPU": gpus} if gpus else {})
    return {
        "NodeID": "a",
        "Alive": alive,
        "Labels": {"ray.io/node-id": "a", **labels},
        "Resources": resources,
    }


def chosen(
    *nodes: dict[str, Any], engine: EngineKind = "vllm", device: EngineDevice = "auto", replicas: int = 1
) -> EngineNodes:
    return engine_nodes(nodes, engine, device, replicas=replicas, store_labels=STORE_LABELS)


def test_replicas_run_on_machines_that_are_labelled_for_them_or_else_where_the_store_is() -> None:
    assert chosen(node(STORE), node(ENGINE)).labels == ENGINE_LABELS
    assert chosen(node(STORE), node({})).labels == STORE_LABELS


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [("vllm", "auto", 1), ("vllm", "cpu", 0), ("vllm", "gpu", 1), ("torch", "auto", 0)],
)
def test_one_machine_with_a_gpu_makes_all_replicas_take_one(
    engine: EngineKind, device: EngineDevice, expected: int
) -> None:
    nodes = chosen(node(STORE | ENGINE), node(ENGINE, gpus=2), engine=engine, device=device, replicas=3)

    assert nodes.gpus == expected
    assert nodes.places(node(ENGINE)) == (0 if expected else 3)
    assert nodes.places(node(ENGINE, gpus=2)) == (2 if expected else 3)


def test_a_base_that_is_spread_takes_several_cards_of_one_machine() -> None:
    nodes = engine_nodes(
        [node(ENGINE, gpus=4)], "vllm", "auto", replicas=3, store_labels=STORE_LABELS, spread=2
    )

    assert nodes.gpus == 2
    assert nodes.places(node(ENGINE, gpus=4)) == 2
    assert nodes.places(node(ENGINE, gpus=1)) == 0


def test_a_gpu_of_a_machine_without_engines_is_not_waited_for() -> None:
    assert chosen(node(STORE, gpus=1), node(ENGINE)).gpus == 0


def test_gpus_that_no_machine_has_yet_are_waited_for_if_they_are_wanted() -> None:
    assert chosen(node(STORE | ENGINE), device="gpu").gpus == 1


def test_the_lost_and_the_unlabelled_run_nothing() -> None:
    nodes = EngineNodes(ENGINE_LABELS, replicas=2)

    assert nodes.places(node(ENGINE)) == 2
    assert nodes.places(node(ENGINE, alive=False)) == 0
    assert nodes.places(node(STORE)) == 0
    assert wanted_on({}) == 1
    assert wanted_on({"a": 2, "b": 2}) == 4


@pytest.mark.parametrize(
    ("known", "used", "told"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 1, "b": 1}, "1 joined; now 2 replicas on 2"),
        ({"a": 1, "b": 1}, {"a": 1}, "1 left or is lost; now 1 replica on 1"),
        ({"a": 2, "b": 2}, {"a": 2, "c": 2}, "1 joined, 1 left or is lost; now 4 replicas on 2"),
        ({"a": 1}, {}, "The last machine with engines is gone"),
    ],
)
def test_who_serves_is_told_of_each_machine(known: dict[str, int], used: dict[str, int], told: str) -> None:
    change = change_between(known, used)

    assert told in change if told else change == ""

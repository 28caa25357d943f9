"""The trainer's share of the GPUs of the machine with the store, and what is refused by name."""

from typing import Any

import pytest

from populace.cluster import trainer_parts
from populace.cluster.trainer_parts import shares_of_cards
from populace.engines.engine_nodes import ENGINE_LABELS, EngineNodes
from populace.hosting.store_node import STORE_LABELS
from populace.policies.card_shares import CardShares
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings

ENGINES = EngineNodes(ENGINE_LABELS, replicas=2, gpus=1)


@pytest.fixture(autouse=True)
def torch_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_parts, "torch_is_for_cpus", lambda: False)


def node(gpus: float, *labels: dict[str, str]) -> dict[str, Any]:
    return {
        "Alive": True,
        "Resources": {"GPU": gpus} if gpus else {},
        "Labels": {name: value for one in labels for name, value in one.items()},
    }


def shares(device: str, *nodes: dict[str, Any], engines: EngineNodes = ENGINES) -> CardShares:
    return shares_of_cards(Settings(training_device=device), nodes, engines, STORE_LABELS)  # pyright: ignore[reportArgumentType]


def test_the_trainer_takes_the_card_that_the_replicas_leave() -> None:
    assert shares("auto", node(3, STORE_LABELS, ENGINE_LABELS)) == CardShares(1, 1)
    assert shares("auto", node(2, STORE_LABELS, ENGINE_LABELS)) == CardShares(1, 0)
    assert shares("cuda", node(2, STORE_LABELS, ENGINE_LABELS)) == CardShares(0.75, 0.25)


def test_cards_of_machines_without_the_store_are_not_the_trainers() -> None:
    nodes = node(0, STORE_LABELS), node(8, ENGINE_LABELS)

    assert shares("auto", *nodes) == CardShares(1, 0)
    with pytest.raises(SettingsError, match=r"POPULACE_TRAINING_DEVICE is 'cuda'.*the store has no GPU"):
        shares("cuda", *nodes)


def test_each_machine_that_may_have_the_store_must_have_the_card() -> None:
    nodes = node(3, STORE_LABELS, ENGINE_LABELS), node(0, STORE_LABELS)

    assert shares("auto", *nodes) == CardShares(1, 0)


def test_a_torch_without_gpus_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_parts, "torch_is_for_cpus", lambda: True)
    with_card = node(3, STORE_LABELS, ENGINE_LABELS)

    assert shares("auto", with_card) == CardShares(1, 0)
    with pytest.raises(SettingsError, match="for processors"):
        shares("cuda", with_card)


def test_engines_on_processors_leave_all_cards() -> None:
    engines = EngineNodes(ENGINE_LABELS, replicas=2)

    assert shares("auto", node(1, STORE_LABELS, ENGINE_LABELS), engines=engines) == CardShares(1, 1)

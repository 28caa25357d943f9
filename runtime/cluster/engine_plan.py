# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""Where engines and trainer compute, and with what: decided once, before any of them starts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from populace.actors.engine import EngineKind
from populace.cluster.device_checks import check_devices, most_cards
from populace.cluster.memory_checks import check_memory
from populace.cluster.nodes import alive_nodes, engine_nodes, preferred_store_node, store_nodes
from populace.cluster.store_side import StoreSide
from populace.cluster.trainer_parts import shares_of_cards
from populace.engines.engine_nodes import EngineNodes
from populace.policies.card_shares import CardShares
from populace.policies.engine_devices import Asked

WITHOUT_MEMORY = (
    "Without a memory module: with one, vLLM computes without compiled graphs on a GPU, for everybody. "
    "POPULACE_MEMORY_MODULE=shipped turns it on"
)
WITH_MEMORY = (
    "With a memory module vLLM computes without compiled graphs on a GPU: replies are slower for everybody"
)


class EnginePlan(NamedTuple):
    """The store's side, its nodes, where engines run, the shares of GPUs, and what each replica is asked for.

    ``preferred`` is the node of ``store_labels`` that has all parts as long as it lives.
    """

    side: StoreSide
    store_labels: Mapping[str, str]
    preferred: str | None
    engines: EngineNodes
    shares: CardShares
    asked: Asked


def plan_engines(side: StoreSide, engine: EngineKind, report: Callable[[str], None]) -> EnginePlan:
    """Decide it for the nodes that are there. Needs a connection to Ray.

    Raises ``SettingsError`` for a setting that cannot work there, and ``BaseInvalid``.
    """
    settings, alive = side.settings, alive_nodes()
    labels, preferred = store_nodes(side.node), preferred_store_node(side.node)
    engines = engine_nodes(
        alive,
        engine,
        settings.engine_device,
        replicas=settings.replicas,
        store_labels=labels,
        spread=settings.tensor_parallel,
    )
    shares = shares_of_cards(settings, alive, engines, labels)
    asked = check_devices(settings, engine, side.base, alive, engines, shares)
    if shares.is_shared:
        engines = engines._replace(share=shares.replica)
    if engines.gpus and side.memory is not None:
        side = memory_on_gpus(side, report)
    check_memory(side, asked, cards_max=most_cards(alive, engines), replicas=_replicas_here(alive, engines))
    return EnginePlan(side, labels, preferred, engines, shares, asked)


def _replicas_here(nodes: Sequence[Mapping[str, Any]], engines: EngineNodes) -> int:
    own = ray.get_runtime_context().get_node_id()
    return next((engines.places(node) for node in nodes if node["NodeID"] == own), 0)


def memory_on_gpus(side: StoreSide, report: Callable[[str], None]) -> StoreSide:
    """Leave a module out that no setting names, and say what it costs to have one."""
    if side.settings.memory_module is not None:
        report(WITH_MEMORY)
        return side
    report(WITHOUT_MEMORY)
    return side._replace(memory=None, info=side.info._replace(memory_module=None))

# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""Plans the devices and options of engines and trainer, once, before any of them starts.

Whether the base fits is found out before minutes of loading end in an error.
Only this machine's cards and memory are known here; of another machine, vLLM itself says it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from populace.actors.engine import EngineKind
from populace.base.prepare import BaseModelFiles
from populace.base.shape import read_shape
from populace.base.sizes import read_sizes
from populace.cluster.nodes import alive_nodes, engine_nodes, preferred_store_node, store_nodes
from populace.cluster.store_side import StoreSide
from populace.cluster.trainer_parts import shares_of_cards
from populace.engines.engine_nodes import EngineNodes, gpus_of, has_labels
from populace.policies.card_shares import CardShares
from populace.policies.engine_devices import Asked, memory_share, refusal_of
from populace.policies.engine_memory import (
    GIB,
    BaseSizes,
    EngineSizes,
    HostSizes,
    Needed,
    Remedy,
    card_remedies,
    host_remedies,
    needed_on_card,
    needed_on_host,
)
from populace.settings import machine
from populace.settings.errors import MemoryTooSmall, SettingsError
from populace.settings.settings import Settings


def check_memory(side: StoreSide, asked: Asked, *, cards_max: int, replicas: int) -> None:
    """Raise ``MemoryTooSmall`` if a replica does not fit on a card here, or all of them into this machine.

    ``cards_max`` is the most cards of one machine, ``replicas`` how many this machine runs.
    """
    if not replicas:
        return
    base = read_sizes(side.base.directory, side.settings.engine_dtype)
    if asked.on_gpu:
        _check_card(side, asked, base, cards_max)
    else:
        _check_host(side, asked, base, replicas)


def _check_card(side: StoreSide, asked: Asked, base: BaseSizes, cards_max: int) -> None:
    card, settings, share = min(machine.cards(), default=None), side.settings, memory_share(asked)
    if card is None:
        return
    engine = EngineSizes(
        sequences=settings.sequences_max,
        slots=settings.adapter_slots,
        rank=settings.rank_max,
        context_tokens=side.info.context_tokens,
        batched_tokens=settings.batched_tokens_max,
        cards=settings.tensor_parallel,
        quantized=settings.quantization == "fp8",
        state_bytes=_state_bytes(side),
    )
    needed, room = needed_on_card(base, engine), int(card.bytes * share)
    if needed.total <= room:
        return
    remedies = card_remedies(
        base,
        engine,
        card.bytes,
        share,
        trainer_share=asked.trainer_share,
        cards_max=cards_max,
        may_quantize=card.capability >= (8, 0),
    )
    place = f"A GPU of {gib(card.bytes)}, of which a replica takes {share:g},"
    raise _refused(place, side.base.name, needed, room, remedies, "a larger GPU")


def _check_host(side: StoreSide, asked: Asked, base: BaseSizes, replicas: int) -> None:
    settings = side.settings
    host = HostSizes(
        replicas=replicas,
        cache_gib=settings.kv_gib if asked.engine == "vllm" else 0,
        warm_bytes=settings.warm_bytes_max,
        trains=settings.training != "off",
        places=asked.places,
        state_bytes=_state_bytes(side),
    )
    needed, room = needed_on_host(base, host), machine.memory_bytes()
    if needed.total > room:
        remedies = host_remedies(base, host, room)
        raise _refused(
            f"This machine, with {gib(room)},", side.base.name, needed, room, remedies, "more memory"
        )


def _state_bytes(side: StoreSide) -> int:
    return 0 if side.memory is None else side.memory.states.packed_bytes


def _refused(
    place: str, base: str, needed: Needed, room: int, remedies: Sequence[Remedy], larger: str
) -> MemoryTooSmall:
    parts = ", ".join(f"{what} {gib(size)}" for what, size in needed._asdict().items() if size)
    named = " or ".join(f"POPULACE_{remedy.setting}={remedy.value}" for remedy in remedies)
    remedy = (
        f"It fits with {named}"
        if named
        else f"No setting alone is enough: it takes {larger}, or a smaller base"
    )
    return MemoryTooSmall(
        place, base, gib(needed.total - room), f"It needs {gib(needed.total)}: {parts}", remedy
    )


def gib(size: int) -> str:
    """Say a number of bytes as people read it."""
    return f"{size / GIB:.2f} GiB"


def most_cards(nodes: Sequence[Mapping[str, Any]], engines: EngineNodes) -> int:
    """Return the most GPUs of one node of ``ray.nodes()`` that runs engines."""
    return max((int(gpus_of(node)) for node in nodes if has_labels(node, engines.labels)), default=0)


def check_devices(
    settings: Settings,
    engine: EngineKind,
    base: BaseModelFiles,
    nodes: Sequence[Mapping[str, Any]],
    engines: EngineNodes,
    shares: CardShares,
) -> Asked:
    """Return what the settings ask of each replica on these nodes of ``ray.nodes()``.

    What the cards are is known of this machine alone. Raises ``SettingsError`` for the first setting that
    cannot work, and ``BaseInvalid``.
    """
    asked = Asked(
        engine=engine,
        on_gpu=bool(engines.gpus),
        tensor_parallel=settings.tensor_parallel,
        memory_share=settings.gpu_memory_share,
        dtype=settings.engine_dtype,
        quantization=settings.quantization,
        batched_tokens=settings.batched_tokens_max,
        places=settings.sequences_max + max(1, settings.sequences_max // 4),
        trainer_share=shares.trainer if shares.is_shared else 0.0,
        trains=settings.training != "off",
    )
    # Where none has a card yet, they wait for a machine that joins and has enough.
    cards = most_cards(nodes, engines) or None
    card = min(machine.cards(), default=None) if cards is not None else None
    refusal = refusal_of(asked, read_shape(base.directory), cards, card)
    if refusal is not None:
        raise SettingsError(f"POPULACE_{refusal.setting}", refusal.value, refusal.reason)
    return asked


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

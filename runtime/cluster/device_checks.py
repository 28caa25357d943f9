"""Whether the settings of devices work together on the machines that are there, before engines start."""

from collections.abc import Mapping, Sequence
from typing import Any

from populace.actors.engine import EngineKind
from populace.base.prepare import BaseModelFiles
from populace.base.shape import read_shape
from populace.engines.engine_nodes import EngineNodes, gpus_of, has_labels
from populace.policies.card_shares import CardShares
from populace.policies.engine_devices import Asked, refusal_of
from populace.settings import machine
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings


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

# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""The trainer of a running Populace: with what it is started, and on which device."""

from collections.abc import Mapping, Sequence
from typing import Any

from populace.actors.engine import EngineKind
from populace.cluster.store_side import StoreSide
from populace.engines.engine_nodes import EngineNodes, gpus_of, has_labels
from populace.hosting.store_node import Home
from populace.policies.card_shares import CardShares, card_shares
from populace.settings.errors import SettingsError
from populace.settings.machine import torch_is_for_cpus
from populace.settings.settings import Settings
from populace.trainer.actor import TeacherOptions, TrainerOptions

CPU_TORCH = "the torch that is installed is the one for processors; `make install` takes the other one"


def trainer_options(
    side: StoreSide, engine: EngineKind, shares: CardShares, home: Home | None
) -> TrainerOptions:
    """Return what the trainer is started with."""
    settings, memory = side.settings, side.memory
    return TrainerOptions(
        hosts=settings.hosts,
        shards=side.shards,
        data_directory=str(settings.data),
        base=side.info,
        base_directory=str(side.base.directory),
        rank_max=settings.rank_max,
        gpu_share=shares.trainer,
        priority=settings.training_priority,
        automatic=settings.training == "auto",
        memory_module=None if memory is None else memory.path,
        master_key=settings.master_key,
        kept_bytes_max=settings.kept_training_bytes_max,
        teacher=_teacher_options(settings),
        telemetry=side.telemetry,
        replies_directory=settings.cache / "base-replies" / engine,
        home=home,
    )


def shares_of_cards(
    settings: Settings,
    nodes: Sequence[Mapping[str, Any]],
    engines: EngineNodes,
    store_labels: Mapping[str, str],
) -> CardShares:
    """Decide what replicas and trainer take of the GPUs of the node with the store.

    ``nodes`` are those of ``ray.nodes()``. Raises ``SettingsError`` if the trainer is to have a GPU and
    cannot.
    """
    stores = [node for node in nodes if has_labels(node, store_labels)]
    cards = min((int(gpus_of(node)) for node in stores), default=0)
    replicas = min((engines.places(node) for node in stores), default=0) if engines.gpus else 0
    device = "cpu" if settings.training == "off" else settings.training_device
    each = max(1, engines.gpus)
    shares = card_shares(device, cards=cards, replicas=replicas, each=each, share=settings.training_gpu_share)
    if not isinstance(shares, str) and shares.trainer and torch_is_for_cpus():
        shares = CPU_TORCH if device == "cuda" else shares._replace(trainer=0.0)
    if isinstance(shares, str):
        raise SettingsError("POPULACE_TRAINING_DEVICE", "cuda", f"{shares}; use auto or cpu")
    return shares


def training_threads(settings: Settings) -> dict[str, str]:
    """Return the variables of the trainer's compute threads."""
    # GNU OpenMP's threads otherwise spin for long after each product, on cores that others need: beside
    # another program with as many threads a step took three times as long as with half of the cores.
    return {"OMP_NUM_THREADS": str(settings.training_threads), "GOMP_SPINCOUNT": "2000"}


def _teacher_options(settings: Settings) -> TeacherOptions | None:
    if settings.teacher_url is None or settings.teacher_model is None:
        return None
    return TeacherOptions(settings.teacher_url, settings.teacher_model, settings.teacher_key)

"""Makes the adapter that a job trains first: a new one, its origin's, or a part on a lower revision.

A personal part that was trained on the lower revision before is trained on. If that has another digest now,
as everybody's has after it learned more, the part is carried over to it as it is: its factors are the first
weights on the new one. A revision that was not trained on any lower one has no such part, nor has the lower
revision itself, and a new part begins.
"""

from dataclasses import replace
from typing import Any

from populace.actors.errors import TrainingFailed
from populace.actors.training import TrainingJob
from populace.adapters.lora.shape import LoraShape, targets_of
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.lower_part import LowerPart


def new_adapter(
    job: TrainingJob, base: FrozenBase, *, rank_max: int, rank: int | None = None
) -> TrainableAdapter:
    """Make a new adapter of the job's shape, which changes nothing yet; of ``rank`` if the job asks for none.

    Raises ``TrainingFailed`` if its rank is not served, and ``InvalidRequest`` if the base cannot have it.
    """
    shape = shape_of_new(job, rank)
    if shape.rank > rank_max:
        raise TrainingFailed(job.model.name, f"rank {shape.rank} is more than is served, which is {rank_max}")
    return TrainableAdapter.begin(base.model, base.modules, shape, job.options.start, seed=job.options.seed)


def shape_of_new(job: TrainingJob, rank: int | None = None) -> LoraShape:
    """Return the shape of a job's new adapter; it has ``rank`` if the job asks for none."""
    return replace(LoraShape(rank=rank or LoraShape().rank), **_asked(job))


def check_shape(job: TrainingJob, has: LoraShape) -> None:
    """Raise ``TrainingFailed`` if another shape was asked for than the adapter ``has`` that is trained on."""
    for what, value in _asked(job).items():
        if value != getattr(has, what):
            raise TrainingFailed(
                job.model.name,
                f"its adapter has {what} {said(getattr(has, what))}; "
                f"{said(value)} has to begin from the base",
            )


def carried_part(
    origin: TrainableAdapter | None, digest: str | None, lower: LowerPart
) -> TrainableAdapter | None:
    """Return a copy of the personal part of the origin on the lower revision; None if it has none.

    ``digest`` is the origin's.
    """
    if origin is None or origin.concatenation is None or digest == lower.digest:
        return None
    return origin.personal_part().on(lower.adapter, lower.digest)


def new_part(job: TrainingJob, base: FrozenBase, lower: LowerPart, *, rank_max: int) -> TrainableAdapter:
    """Make a new personal part, which changes nothing yet. Raises as ``new_adapter``.

    If the job asks for no rank it has what the lower revision leaves of the largest that is served.
    """
    room = rank_max - lower.adapter.merged_rank
    rank = min(LoraShape().rank, room) if room > 0 else None
    return new_adapter(job, base, rank_max=rank_max, rank=rank).on(lower.adapter, lower.digest)


def check_rank(job: TrainingJob, part: TrainableAdapter, lower: LowerPart, *, rank_max: int) -> None:
    """Raise ``TrainingFailed`` if both together have a rank that is not served; it says what to do."""
    if part.merged_rank <= rank_max:
        return
    below = lower.adapter.merged_rank
    # The initial factors that some starts subtract are served too.
    doubled = any(layer.offset is not None for layer in part.layers.values())
    room = (rank_max - below) // (2 if doubled else 1)
    smaller = f"ask for a rank of {room} at most, or " if room > 0 else ""
    raise TrainingFailed(
        job.model.name,
        f"with the rank {below} of the revision {lower.digest[:12]} that it is trained on, it has rank "
        f"{part.merged_rank}, more than is served, which is {rank_max}: {smaller}"
        f"serve with POPULACE_RANK_MAX={part.merged_rank}",
    )


def shape_of(adapter: TrainableAdapter) -> LoraShape:
    """Return an adapter's shape; the largest rank and alpha if its layers differ, as imported ones may.

    Layers that only a lower revision adapts do not count.
    """
    layers = {name: layer for name, layer in adapter.layers.items() if layer.rank}
    return LoraShape(
        max(layer.rank for layer in layers.values()),
        max(layer.alpha for layer in layers.values()),
        targets_of(list(layers)),
    )


def said(value: float | tuple[str, ...]) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}"


def _asked(job: TrainingJob) -> dict[str, Any]:
    options = job.options
    asked: dict[str, Any] = {"rank": options.rank, "alpha": options.alpha, "targets": options.targets}
    if options.targets is not None:
        asked["targets"] = tuple(sorted(set(options.target_names)))
    return {what: value for what, value in asked.items() if value is not None}

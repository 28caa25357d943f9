# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch.optim is partly untyped.
"""A training session of one personal model: the adapter, the optimiser's moments and the step number.

Random draws and the learning rate are functions of the session's seed and step number. A session that is
saved and restored therefore continues to the same bits, whatever else was trained in between.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from populace.actors.errors import TrainingDiverged, TrainingFailed
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Objective
from populace.learning.packed_row import Reading


@dataclass(frozen=True, slots=True)
class StepOptions:
    """AdamW with linear warm-up and cosine decay of the learning rate.

    The rate rises over ``warm_up`` steps to ``learning_rate``, falls until step ``schedule_steps`` (None:
    ``steps``) to the share ``rate_last`` of it, and stays there. The norm of the gradient is clipped to
    ``clip``.
    """

    steps: int
    learning_rate: float = 2e-4
    warm_up: int = 5
    rate_last: float = 0.1
    clip: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    seed: int = 0
    schedule_steps: int | None = None

    @property
    def falls_until(self) -> int:
        return self.schedule_steps or self.steps

    def rate(self, step: int) -> float:
        """Return the learning rate of step number ``step``, counted from 0."""
        rising = min(1.0, (step + 1) / (self.warm_up + 1))
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.falls_until)))
        return self.learning_rate * rising * (self.rate_last + (1 - self.rate_last) * falling)


class StepReport(NamedTuple):
    """The result of one step of one session.

    ``loss`` is the value that was minimised, ``gradient`` the gradient's norm before clipping, and ``tokens``
    the number of tokens in the batch. ``metrics`` are those of the objective.
    """

    step: int
    loss: float
    gradient: float
    tokens: int
    metrics: Mapping[str, float]


class TrainingSession:
    """An adapter with its optimiser. ``name`` is used in errors; ``step`` counts the steps taken."""

    def __init__(self, name: str, adapter: TrainableAdapter, options: StepOptions) -> None:
        self.name = name
        self.adapter = adapter
        self.options = options
        self.step = 0
        # Fused: one call for all factors. An adapter has hundreds of small ones, at ten calls each.
        self.optimizer = torch.optim.AdamW(
            adapter.parameters(),
            lr=0.0,
            betas=options.betas,
            weight_decay=options.weight_decay,
            fused=True,
        )

    def source(self, purpose: str) -> random.Random:
        """Return a random source for ``purpose`` that depends on the seed and the number of the next step."""
        return random.Random(f"{purpose} {self.options.seed} {self.step}")  # noqa: S311 - not a secret

    def apply(self) -> float:
        """Take an optimiser step with the accumulated gradient and return its norm before clipping.

        Raises ``TrainingDiverged`` if the gradient has NaN or infinity; the adapter is unchanged then.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), self.options.clip)
        if not bool(torch.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingDiverged(self.name, self.step, "its gradient is not finite")
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(norm)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error means that memory ran out; torch's CPU allocator has no class for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def take_step(
    base: FrozenBase, parts: Sequence[tuple[TrainingSession, Objective]]
) -> list[StepReport | TrainingFailed]:
    """Take one step of every session with one pass through the base; the results are in the same order.

    Each session has its own loss, gradient, clipping and optimiser. The other sessions of the pass change its
    result only by the rounding of larger matrix products. A session whose loss or gradient is not finite, or
    whose optimiser does not fit into memory, is unchanged and has an error as its result.
    """
    assert len({id(session) for session, _ in parts}) == len(parts), "a session takes one step at a time"
    readings = base.score([Reading(session.adapter, objective.sequences) for session, objective in parts])
    losses = [objective.loss(scored) for (_, objective), scored in zip(parts, readings, strict=True)]
    finite = [loss.value for loss in losses if bool(torch.isfinite(loss.value.detach()))]
    if finite:
        torch.stack(finite).sum().backward()
    outcomes: list[StepReport | TrainingFailed] = []
    for (session, objective), loss in zip(parts, losses, strict=True):
        value = float(loss.value.detach())
        if not math.isfinite(value):
            session.optimizer.zero_grad(set_to_none=True)
            outcomes.append(TrainingDiverged(session.name, session.step, f"its loss is {value}"))
            continue
        number = session.step
        try:
            norm = session.apply()
        except TrainingDiverged as error:
            outcomes.append(error)
            continue
        except (MemoryError, RuntimeError) as error:
            # The moments of this session do not fit. Sessions before it took their steps and keep them.
            if not is_out_of_memory(error):
                raise
            session.optimizer.zero_grad(set_to_none=True)
            outcomes.append(TrainingFailed(session.name, "its optimiser does not fit into memory"))
            continue
        tokens = sum(len(sequence.ids) for sequence in objective.sequences)
        outcomes.append(StepReport(number, value, norm, tokens, loss.metrics))
    return outcomes

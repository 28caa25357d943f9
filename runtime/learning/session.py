# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch.optim is partly untyped.
"""One personal model in training: its adapter, what its optimiser remembers, and how far it is.

What a step draws at random is a function of the session's seed and the step's number, and so is the learning
rate. Parameters, moments and step are therefore all that a session is: saved and restored, it goes on to the
same bits, whoever else was trained in between.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from populace.actors.errors import TrainingDiverged, TrainingFailed
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase, Reading
from populace.learning.methods.objective import Objective


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a session's steps move its adapter: AdamW, with a rate that rises, then falls as a cosine.

    It falls over ``steps`` to ``rate_last`` of ``learning_rate``. A gradient longer than ``clip`` is
    shortened to that.
    """

    steps: int
    learning_rate: float = 2e-4
    warm_up: int = 5
    rate_last: float = 0.1
    clip: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of the step of this number, from 0."""
        rising = min(1.0, (step + 1) / (self.warm_up + 1))
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.learning_rate * rising * (self.rate_last + (1 - self.rate_last) * falling)


class StepReport(NamedTuple):
    """What one step of one session did. ``gradient`` is its length before it was clipped."""

    step: int
    loss: float
    gradient: float
    tokens: int
    metrics: Mapping[str, float]


class TrainingSession:
    """``name`` says whose it is, for messages. ``step`` counts the steps that were taken."""

    def __init__(self, name: str, adapter: TrainableAdapter, options: StepOptions) -> None:
        self.name = name
        self.adapter = adapter
        self.options = options
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            adapter.parameters(), lr=0.0, betas=options.betas, weight_decay=options.weight_decay
        )

    def source(self, purpose: str) -> random.Random:
        """What the next step draws from for this purpose."""
        return random.Random(f"{purpose} {self.options.seed} {self.step}")  # noqa: S311 - not a secret

    def apply(self) -> float:
        """Move the adapter along the gradient that it has; answers its length.

        Raises ``TrainingDiverged`` for one with NaN or infinity, and moves nothing.
        """
        length = torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), self.options.clip)
        if not bool(torch.isfinite(length)):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingDiverged(self.name, self.step, "its gradient is not finite")
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(length)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the CPU's allocator says it in words."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def take_step(
    base: FrozenBase, parts: Sequence[tuple[TrainingSession, Objective]]
) -> list[StepReport | TrainingFailed]:
    """Take a step of every session in one pass through the base; answers in their order.

    Each has its own loss, gradient, clipping and optimiser: what it becomes does not depend on who else is
    in the pass, up to the rounding of matrix products of another size. One whose loss or gradient is not
    finite, or whose optimiser has no room, stays as it is and gets an error in its place.
    """
    assert len({id(session) for session, _ in parts}) == len(parts), "a session takes one step at a time"
    scored = base.score([Reading(session.adapter, objective.sequences) for session, objective in parts])
    losses = [objective.loss(one) for (_, objective), one in zip(parts, scored, strict=True)]
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
            length = session.apply()
        except TrainingDiverged as error:
            outcomes.append(error)
            continue
        except (MemoryError, RuntimeError) as error:
            # Of this person's moments; who came before has taken the step and must not take it again.
            if not is_out_of_memory(error):
                raise
            session.optimizer.zero_grad(set_to_none=True)
            outcomes.append(TrainingFailed(session.name, "its optimiser does not fit into memory"))
            continue
        tokens = sum(len(one.ids) for one in objective.sequences)
        outcomes.append(StepReport(number, value, length, tokens, loss.metrics))
    return outcomes

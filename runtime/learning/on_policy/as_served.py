"""Asks adapters as they are served: by the engine that serves, with the person's memory, greedily.

The memory is read as it was when the training was taken up, and not written. Nothing of the log is retrieved,
and no correction: what a training changes is the weights, and retrieval would say the corrections for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from populace.actors.engine import MemoryUse, Message
from populace.actors.errors import (
    EngineUnavailable,
    InvalidRequest,
    MemoryStateInvalid,
    MemoryStateMismatch,
    Refused,
    TrainingFailed,
)
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import Sampler
from populace.learning.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class AsServed:
    """Asks for the model of this name. ``memory`` None: it is served without one."""

    model: str
    base: FrozenBase
    sampler: Sampler
    memory: MemoryUse | None = None

    def replies(
        self, adapter: TrainableAdapter | None, prompts: Sequence[tuple[Message, ...]], tokens_max: int
    ) -> list[Rollout]:
        """Return one reply to each prompt; ``adapter`` None is the base. Raises ``TrainingFailed``.

        A memory state of another memory module is no more served, so that it is left out here too.
        """
        packed = None if adapter is None else adapter.pack(self.base.fingerprint, self.base.dtype)
        try:
            try:
                return self.sampler.answers(packed, prompts, tokens_max=tokens_max, memory=self.memory)
            except MemoryStateMismatch:
                return self.sampler.answers(packed, prompts, tokens_max=tokens_max)
        except (EngineUnavailable, Refused, InvalidRequest, MemoryStateInvalid) as error:
            raise TrainingFailed(self.model, f"it could not be asked as it is served: {error}") from error

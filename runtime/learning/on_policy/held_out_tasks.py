"""Judges a candidate by what its replies to tasks are rewarded with that it never learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from populace.actors.reward_tasks import RewardTask
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.evaluation import Compared
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import Sampler, usable_rollouts
from populace.learning.rewards import rewarded


@dataclass(frozen=True, slots=True)
class HeldOutTasks:
    """A ``HeldOut``: the mean reward of so many replies to each task, drawn alike of parent and candidate.

    They are sampled at temperature 1, as what is learned from is: one greedy reply to each would be one coin
    thrown where there are ``replies``.
    """

    model: str
    tasks: Sequence[RewardTask]
    reward: str
    base: FrozenBase
    sampler: Sampler
    replies: int
    tokens_max: int
    seed: int

    @property
    def size(self) -> int:
        return len(self.tasks)

    def compare(self, parent: TrainableAdapter | None, candidate: TrainableAdapter) -> Compared:
        """Raises ``TrainingFailed``: an engine that does not sample, a reward that is no number."""
        if not self.tasks:
            return Compared((), (), "reward")
        return Compared(self._rewards(parent or self._untrained()), self._rewards(candidate), "reward")

    def _rewards(self, adapter: TrainableAdapter) -> list[float]:
        usable = usable_rollouts(
            self.sampler,
            self.model,
            adapter.pack(self.base.fingerprint, self.base.dtype),
            [one.prompt for one in self.tasks],
            replies=self.replies,
            tokens_max=self.tokens_max,
            seed=self.seed,
            # All of them: what is judged has to be the same of both.
            complete=True,
        )
        return [
            fmean(
                rewarded(self.model, self.reward, task.prompt, rollout.reply, task.known)
                for rollout in one.rollouts
            )
            for task, one in zip(self.tasks, usable, strict=True)
        ]

    def _untrained(self) -> TrainableAdapter:
        """The base, as an engine is sent a revision: it begins without changing anything."""
        return TrainableAdapter.begin(
            self.base.model, self.base.modules, LoraShape(rank=1), "uniform", seed=self.seed
        )

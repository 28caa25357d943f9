"""Judges a candidate by the rewards of its replies to held-out tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from populace.actors.reward_tasks import RewardTask
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.evaluation import Compared
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.record import RolloutRecord
from populace.learning.on_policy.sampler import Sampler, usable_rollouts
from populace.storage.packed.adapter import PackedAdapter
from populace.suites.rewards import JobRewards, Replied


@dataclass(frozen=True, slots=True)
class HeldOutTasks:
    """A ``HeldOut`` that scores each task by the mean reward of ``replies`` replies.

    Parent and candidate sample at temperature 1, as in training, with the same seeds. A single greedy reply
    to each task would give a much noisier score. ``record`` keeps the scores, or has those of a replay.
    """

    model: str
    tasks: Sequence[RewardTask]
    rewards: JobRewards
    base: FrozenBase
    sampler: Sampler
    replies: int
    tokens_max: int
    seed: int
    record: RolloutRecord = field(default_factory=RolloutRecord)

    @property
    def size(self) -> int:
        return len(self.tasks)

    def compare(self, parent: TrainableAdapter | None, candidate: TrainableAdapter) -> Compared:
        """Sample from both and score them. ``parent`` None is the base.

        Raises ``TrainingFailed`` if the engine cannot sample or a reward is not a finite number.
        """
        if not self.tasks:
            return Compared((), (), "reward")
        return Compared(
            self._rewards(parent or untrained(self.base, self.seed)), self._rewards(candidate), "reward"
        )

    def _rewards(self, adapter: TrainableAdapter) -> list[float]:
        packed = adapter.pack(self.base.fingerprint, self.base.dtype)
        revision = PackedAdapter(memoryview(packed)).digest
        kept = self.record.rewards(revision)
        if kept is not None:
            return kept
        usable = usable_rollouts(
            self.sampler,
            self.model,
            packed,
            [task.prompt for task in self.tasks],
            replies=self.replies,
            tokens_max=self.tokens_max,
            seed=self.seed,
            # Without rollouts of another revision, the two scores would be of different numbers of replies.
            complete=True,
        )
        given = iter(
            self.rewards.of(
                self.model,
                [
                    Replied(task.prompt, rollout.reply, task.known)
                    for task, replies in zip(self.tasks, usable, strict=True)
                    for rollout in replies.rollouts
                ],
            )
        )
        rewards = [fmean(next(given) for _ in replies.rollouts) for replies in usable]
        self.record.judged(revision, rewards)
        return rewards


def untrained(base: FrozenBase, seed: int) -> TrainableAdapter:
    """Return an adapter with B = 0, which is the base in the form in which a sampler takes a revision."""
    return TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=1), "uniform", seed=seed)

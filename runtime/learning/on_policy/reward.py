"""Policy gradients from verifiable rewards: replies that beat others to the same prompt become likelier."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.actors.engine import Message
from populace.actors.reward_tasks import RewardTask
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.evaluation import token_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.context_distillation import distillation_sequence
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.rl import Clipping, PolicyObjective, group_advantages
from populace.learning.on_policy.record import Group
from populace.learning.on_policy.rounds import Lessons, parts_of
from populace.learning.session import TrainingSession
from populace.suites.rewards import JobRewards, Replied


@dataclass(frozen=True, slots=True)
class RewardOptions:
    """The name of the reward, the options of ``PolicyObjective``, and ``scaled`` of ``group_advantages``."""

    reward: str
    clipping: Clipping = "ppo"
    low: float = 0.2
    high: float = 0.28
    mismatch_max: float = 2.0
    scaled: bool = True


class RewardMethod:
    """The ``OnPolicyMethod`` of policy gradients over groups of rewarded replies.

    A group whose rewards are all equal has no advantages and is left out. Each step has the metrics
    ``reward``, the mean over all replies of its round; ``equal``, the share of groups that were left out; and
    ``kl_parent``, the estimated divergence from ``parent`` (None is the base).
    """

    def __init__(
        self,
        tasks: Sequence[RewardTask],
        base: FrozenBase,
        tokenizer: BaseTokenizer,
        parent: TrainableAdapter | None,
        options: RewardOptions,
    ) -> None:
        """Look up the reward. Raises ``InvalidRequest`` if there is none of this name."""
        self.rewards = JobRewards(options.reward)
        self._tasks = tasks
        self._base = base
        self._tokenizer = tokenizer
        self._parent = parent
        self._options = options

    @property
    def prompts(self) -> Sequence[tuple[Message, ...]]:
        return [task.prompt for task in self._tasks]

    def lessons(self, session: TrainingSession, groups: Sequence[Group], steps: int) -> Lessons:
        """Reward the replies and make the objectives of a round.

        Raises ``RewardFailed`` if the reward function raises or does not return a finite number.
        """
        rewarded_groups = self._rewarded(session.name, groups)
        mixed = [group for group in rewarded_groups if len(set(group.rewards)) > 1]
        parts = parts_of(mixed, steps)
        # With one part, the weights that learn are those that sampled: π_old is π.
        old = session.adapter if len(parts) > 1 else None
        objectives = [self._objective(part, old) for part in parts]
        metrics = {
            "reward": statistics.fmean(reward for group in rewarded_groups for reward in group.rewards),
            "equal": 1 - len(mixed) / len(rewarded_groups),
        }
        judged = [
            Group(
                group.at,
                [one._replace(reward=given) for one, given in zip(group.rollouts, rewards, strict=True)],
            )
            for group, rewards in rewarded_groups
        ]
        return Lessons([_returns(objective) for objective in objectives], metrics, judged)

    def _rewarded(self, name: str, groups: Sequence[Group]) -> list["_RewardedGroup"]:
        """Reward what has no reward yet, all at once."""
        asked = [
            Replied(self._tasks[group.at].prompt, rollout.reply, self._tasks[group.at].known)
            for group in groups
            for rollout in group.rollouts
            if rollout.reward is None
        ]
        given = iter(self.rewards.of(name, asked))
        return [
            _RewardedGroup(
                group,
                [next(given) if rollout.reward is None else rollout.reward for rollout in group.rollouts],
            )
            for group in groups
        ]

    def _objective(self, part: Sequence["_RewardedGroup"], old: TrainableAdapter | None) -> PolicyObjective:
        options = self._options
        sequences: list[TrainSequence] = []
        advantages: list[float] = []
        sampler: list[float] = []
        for group, rewards in part:
            prompt_ids = self._tokenizer.tokens_of(self._tasks[group.at].prompt).ids
            sequences += [distillation_sequence(prompt_ids, rollout.reply_ids) for rollout in group.rollouts]
            advantages += group_advantages(rewards, scaled=options.scaled)
            sampler += [value for rollout in group.rollouts for value in rollout.log_probs]
        return PolicyObjective(
            sequences,
            advantages,
            sampler,
            old=None if old is None else self._log_probs(old, sequences),
            parent=self._log_probs(self._parent, sequences),
            clipping=options.clipping,
            low=options.low,
            high=options.high,
            mismatch_max=options.mismatch_max,
        )

    def _log_probs(self, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]) -> list[float]:
        return [value for row in token_log_probs(self._base, adapter, sequences) for value in row]


class _RewardedGroup(NamedTuple):
    """A group with the reward of each reply. A prompt has two groups if the round spans two epochs."""

    group: Group
    rewards: list[float]


def _returns(objective: PolicyObjective) -> Callable[[], PolicyObjective]:
    return lambda: objective

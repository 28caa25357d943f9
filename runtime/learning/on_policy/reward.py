"""Learning from rewards that anybody can check: what beats other replies to its prompt becomes likelier."""

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
from populace.learning.on_policy.rounds import Group, Lessons, parts_of
from populace.learning.rewards import find_reward, rewarded
from populace.learning.session import TrainingSession


@dataclass(frozen=True, slots=True)
class RewardOptions:
    """The reward by its name, and ``PolicyObjective``'s options. ``scaled`` as in ``group_advantages``."""

    reward: str
    clipping: Clipping = "ppo"
    low: float = 0.2
    high: float = 0.28
    mismatch_max: float = 2.0
    scaled: bool = True


class RewardMethod:
    """An ``OnPolicyMethod``: policy gradients over groups of rewarded replies.

    A group whose rewards are all equal teaches nothing and is left out. With a step are told ``reward``, the
    mean over all replies of its round; ``equal``, the share of groups that were left out; and how far the
    model is from ``parent``, None the base, as ``kl_parent``.
    """

    def __init__(
        self,
        tasks: Sequence[RewardTask],
        base: FrozenBase,
        tokenizer: BaseTokenizer,
        parent: TrainableAdapter | None,
        options: RewardOptions,
    ) -> None:
        """Raises ``InvalidRequest`` for a reward that nobody knows."""
        find_reward(options.reward)
        self._tasks = tasks
        self._base = base
        self._tokenizer = tokenizer
        self._parent = parent
        self._options = options

    @property
    def prompts(self) -> Sequence[tuple[Message, ...]]:
        return [task.prompt for task in self._tasks]

    def lessons(self, session: TrainingSession, groups: Sequence[Group], steps: int) -> Lessons:
        """Raises ``RewardFailed`` for a reward that raises or is no number."""
        judged = [_Judged(group, self._rewards(session.name, group)) for group in groups]
        mixed = [one for one in judged if len(set(one.rewards)) > 1]
        parts = parts_of(mixed, steps)
        # One part alone is learned from by the weights that sampled it: π_old is π there.
        old = session.adapter if len(parts) > 1 else None
        objectives = [self._objective(part, old) for part in parts]
        told = {
            "reward": statistics.fmean(reward for one in judged for reward in one.rewards),
            "equal": 1 - len(mixed) / len(judged),
        }
        return Lessons([_made(objective) for objective in objectives], told)

    def _rewards(self, name: str, group: Group) -> list[float]:
        task = self._tasks[group.at]
        return [
            rewarded(name, self._options.reward, task.prompt, rollout.reply, task.known)
            for rollout in group.rollouts
        ]

    def _objective(self, judged: Sequence["_Judged"], old: TrainableAdapter | None) -> PolicyObjective:
        options = self._options
        sequences: list[TrainSequence] = []
        advantages: list[float] = []
        sampler: list[float] = []
        for group, rewards in judged:
            asked = self._tokenizer.tokens_of(self._tasks[group.at].prompt).ids
            sequences += [distillation_sequence(asked, one.reply_ids) for one in group.rollouts]
            advantages += group_advantages(rewards, scaled=options.scaled)
            sampler += [number for one in group.rollouts for number in one.log_probs]
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
        return [one for row in token_log_probs(self._base, adapter, sequences) for one in row]


class _Judged(NamedTuple):
    """A group, and a reward for each of its replies. A prompt may have two groups where epochs meet."""

    group: Group
    rewards: list[float]


def _made(objective: PolicyObjective) -> Callable[[], PolicyObjective]:
    return lambda: objective

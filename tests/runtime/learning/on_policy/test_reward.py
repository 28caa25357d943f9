"""What beats the other replies becomes likelier; what is no reward, or teaches nothing, is said by name."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest, NothingToTrain, RewardFailed
from populace.actors.reward_tasks import RewardTask
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.rl import Clipping, PolicyObjective
from populace.learning.on_policy.record import Group
from populace.learning.on_policy.reward import RewardMethod, RewardOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import Sampler
from populace.learning.session import StepReport
from populace.learning.trainer import Candidate, Learner, Trainer, TrainerProgress
from populace.policies.evaluation_gate import GateRule
from populace.suites import rewards
from populace.suites.rewards import Reward, Task
from tests.runtime.learning.on_policy.learners import Counting, learn, session

pytestmark = pytest.mark.engine

NAME = "of-this-test"
TASKS = [
    RewardTask((Message("user", f"Say something of {what}."),), {}) for what in ("tea", "rain", "Rome", "ink")
]
ROUND = RoundOptions(replies=8, tokens_max=4)

Curriculum = Callable[..., RolloutCurriculum]


class Watch(TrainerProgress):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def stepped(self, name: str, report: StepReport, seconds: float) -> None:
        self.steps.append(report.step)


@pytest.fixture
def rewarding() -> Generator[Callable[[Reward], None]]:
    """Register a reward, whose name is free again after the test."""

    def register(function: Reward) -> None:
        rewards.reward(NAME)(function)

    yield register
    rewards._registered.pop(NAME, None)


@pytest.fixture
def curriculum(base: FrozenBase, tokenizer: BaseTokenizer, sampler: Sampler) -> Curriculum:
    def make(options: RoundOptions = ROUND, clipping: Clipping = "ppo") -> RolloutCurriculum:
        method = RewardMethod(TASKS, base, tokenizer, None, RewardOptions(NAME, clipping=clipping))
        return RolloutCurriculum(method, sampler, base, options)

    return make


def vowels(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """The share of vowels: anybody can learn that, as some tokens have more of them than others."""
    del prompt, task
    return sum(character in "aeiou" for character in reply) / max(1, len(reply))


@pytest.mark.parametrize(
    ("clipping", "steps_a_round"),
    [
        ("cispo", 2),
        *(
            pytest.param(*other, marks=pytest.mark.release("learning"))
            for other in (("ppo", 1), ("ppo", 2), ("cispo", 1))
        ),
    ],
)
def test_what_is_rewarded_becomes_likelier(
    base: FrozenBase,
    curriculum: Curriculum,
    rewarding: Callable[[Reward], None],
    clipping: Clipping,
    steps_a_round: int,
) -> None:
    rewarding(vowels)
    learner, steps = session(base, steps=20, rate=2e-2), 8 * steps_a_round

    reports = learn(base, learner, curriculum(replace(ROUND, steps=steps_a_round), clipping), steps)

    told = [report.metrics["reward"] for report in reports[::steps_a_round]]
    assert sum(told[-2:]) / 2 > sum(told[:2]) / 2 + 0.1, told
    parted = [report.metrics["kl_parent"] for report in reports]
    assert parted[0] == pytest.approx(0, abs=1e-6)
    assert parted[-1] > 0.01


def test_a_round_of_several_steps_is_sampled_once_and_keeps_what_sampled_it(
    base: FrozenBase, tokenizer: BaseTokenizer, sampler: Sampler, rewarding: Callable[[Reward], None]
) -> None:
    rewarding(vowels)
    counting = Counting(sampler)
    method = RewardMethod(TASKS, base, tokenizer, None, RewardOptions(NAME))
    rounds = RolloutCurriculum(method, counting, base, replace(ROUND, steps=2))
    learner = session(base, rate=5e-2)

    first, second, third, fourth = learn(base, learner, rounds, 4)

    assert counting.calls == 2
    assert first.metrics["clipped"] == third.metrics["clipped"] == 0
    assert first.metrics["mismatch"] < 1e-3
    assert second.metrics["kl_parent"] > 1e-5, "the first step has moved π, by 4e-3 a token or more"
    assert second.metrics["mismatch"] < 1e-3, "π_old is what sampled, whatever π is by now"
    assert fourth.metrics["reward"] == third.metrics["reward"]


def test_groups_of_equal_rewards_are_left_out(
    base: FrozenBase, curriculum: Curriculum, rewarding: Callable[[Reward], None]
) -> None:
    def only_of_tea(prompt: Sequence[Message], reply: str, task: Task) -> float:
        return vowels(prompt, reply, task) if "tea" in prompt[0].content else 1.0

    rewarding(only_of_tea)
    learner = session(base)

    objective = curriculum().objective(learner, len(TASKS))
    [report] = learn(base, learner, curriculum(), 1)

    assert len(objective.sequences) == ROUND.replies
    assert report.metrics["equal"] == 0.75


def test_two_groups_of_one_prompt_have_each_their_own_rewards(
    base: FrozenBase, tokenizer: BaseTokenizer, sampler: Sampler, rewarding: Callable[[Reward], None]
) -> None:
    values = iter([0.0, 1.0, 1.0, 0.0])
    rewarding(lambda prompt, reply, task: next(values))
    method = RewardMethod(TASKS, base, tokenizer, None, RewardOptions(NAME, scaled=False))
    learner = session(base)
    packed = learner.adapter.pack(base.fingerprint, base.dtype)
    rollouts = sampler.sample(packed, [TASKS[0].prompt] * 2, replies=2, tokens_max=4, seed=1)

    lessons = method.lessons(learner, [Group(0, one) for one in rollouts], 1)

    [objective] = [make() for make in lessons.steps]
    assert isinstance(objective, PolicyObjective)
    assert objective.advantages == [-0.5, 0.5, 0.5, -0.5]


def test_replies_that_are_all_as_good_teach_nothing_and_that_is_said(
    base: FrozenBase, curriculum: Curriculum, rewarding: Callable[[Reward], None]
) -> None:
    rewarding(lambda prompt, reply, task: 0.5)

    with pytest.raises(NothingToTrain, match="no reply was better than another") as caught:
        curriculum().objective(session(base), 4)

    assert "`ada`" in str(caught.value)


def broken(prompt: Sequence[Message], reply: str, task: Task) -> float:
    raise ZeroDivisionError("by zero")


def no_number(prompt: Sequence[Message], reply: str, task: Task) -> float:
    return float("nan")


@pytest.mark.parametrize(
    ("function", "says"),
    [(broken, "raised ZeroDivisionError: by zero"), (no_number, "returned nan")],
)
def test_a_reward_that_is_none_fails_its_model_by_name_and_nobody_else(
    base: FrozenBase,
    tokenizer: BaseTokenizer,
    curriculum: Curriculum,
    rewarding: Callable[[Reward], None],
    function: Reward,
    says: str,
) -> None:
    rewarding(function)
    encoder = ExampleEncoder(tokenizer, 256)
    learner = Learner(session(base), curriculum(), None, HeldOutReplies(base, []))

    [outcome] = _trainer(base, encoder).train([learner], Watch()).values()

    assert isinstance(outcome, RewardFailed)
    assert says in str(outcome)
    assert "`ada`" in str(outcome)


def test_who_has_nothing_more_to_learn_is_judged_by_what_was_learned(
    base: FrozenBase, tokenizer: BaseTokenizer, curriculum: Curriculum, rewarding: Callable[[Reward], None]
) -> None:
    asked = 0

    def solved_after_a_round(prompt: Sequence[Message], reply: str, task: Task) -> float:
        nonlocal asked
        asked += 1
        return vowels(prompt, reply, task) if asked <= len(TASKS) * ROUND.replies else 1.0

    rewarding(solved_after_a_round)
    encoder, watch = ExampleEncoder(tokenizer, 256), Watch()
    learner = Learner(session(base), curriculum(), None, HeldOutReplies(base, []))

    [outcome] = _trainer(base, encoder).train([learner], watch).values()

    assert isinstance(outcome, Candidate)
    assert watch.steps == [0]


def test_a_reward_that_nobody_knows_is_refused_before_anything_is_sampled(
    base: FrozenBase, tokenizer: BaseTokenizer
) -> None:
    with pytest.raises(InvalidRequest, match="no reward named `best`"):
        RewardMethod(TASKS, base, tokenizer, None, RewardOptions("best"))


def _trainer(base: FrozenBase, encoder: ExampleEncoder) -> Trainer:
    gate = GateRule(probe_kl_max=10.0, probe_loss_max=10.0)
    return Trainer(base, encoder, gate=gate, rank_max=16, batch=len(TASKS))

"""Who learns in these tests, and samplers that do not do quite what they are asked."""

from collections.abc import Sequence

from populace.actors.engine import MemoryUse, Message
from populace.actors.errors import EngineUnavailable
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.curricula import Curriculum
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import Sampler
from populace.learning.rollouts import Rollout
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step

FINGERPRINT = "f" * 64


def session(base: FrozenBase, *, steps: int = 8, rate: float = 1e-2, seed: int = 0) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    return TrainingSession("ada", adapter, StepOptions(steps=steps, learning_rate=rate, seed=seed))


def learn(
    base: FrozenBase, learner: TrainingSession, curriculum: Curriculum, steps: int, batch: int = 4
) -> list[StepReport]:
    reports: list[StepReport] = []
    for _ in range(steps):
        [outcome] = take_step(base, [(learner, curriculum.objective(learner, batch))])
        assert isinstance(outcome, StepReport), outcome
        reports.append(outcome)
    return reports


class Counting:
    """A sampler that remembers how often it was asked, and for what."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.asked: list[tuple[Message, ...]] = []
        self.calls = 0

    @property
    def context_tokens(self) -> int:
        return self._sampler.context_tokens

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        self.calls += 1
        self.asked += prompts
        return self._sampler.sample(packed, prompts, replies=replies, tokens_max=tokens_max, seed=seed)

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        self.calls += 1
        self.asked += prompts
        return self._sampler.answers(packed, prompts, tokens_max=tokens_max, memory=memory)


class Behind(Counting):
    """A sampler whose last ``stale`` replies to each prompt are of the first revision that it was sent."""

    def __init__(self, sampler: Sampler, stale: int) -> None:
        super().__init__(sampler)
        self._stale = stale
        self._first: bytes | None = None

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        self._first = self._first or bytes(packed)
        new = super().sample(packed, prompts, replies=replies, tokens_max=tokens_max, seed=seed)
        old = super().sample(self._first, prompts, replies=replies, tokens_max=tokens_max, seed=seed)
        kept = replies - self._stale
        return [one[:kept] + other[kept:] for one, other in zip(new, old, strict=True)]


class Remembering(Counting):
    """A sampler that gives the same rollouts for the same revision and seed, to the last bit.

    An engine's logarithms depend in their last digits on who happens to be in a batch together.
    """

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(sampler)
        self._known: dict[tuple[bytes, int], list[list[Rollout]]] = {}

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        key = (bytes(packed), seed)
        if key not in self._known:
            self._known[key] = super().sample(
                packed, prompts, replies=replies, tokens_max=tokens_max, seed=seed
            )
        return self._known[key]


class Gone(Counting):
    """A sampler whose engine died."""

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        raise EngineUnavailable("its process died")

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        raise EngineUnavailable("its process died")

"""Judges a candidate by its person's own suite: greedy replies of it and of what is served now.

They are made by the engine that serves, from adapter and question alone: without the memory, which a training
does not change, and without the log.
"""

from dataclasses import dataclass

from populace.actors.errors import EngineUnavailable, InvalidRequest, Refused, TrainingFailed
from populace.actors.suites import SAMPLING, Suite
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import Sampler
from populace.policies.evaluation_gate import Evaluation
from populace.suites.checking import passed


@dataclass(frozen=True, slots=True)
class SuiteReplies:
    """A ``FurtherJudge``. ``served`` is what the model answers with now, None for the base."""

    model: str
    suite: Suite
    base: FrozenBase
    sampler: Sampler | None
    served: TrainableAdapter | None

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        """Ask both the whole suite. Raises ``TrainingFailed`` if no engine answers."""
        before = self._passed(self.served)
        return evaluation._replace(
            suite_total=len(self.suite), suite_parent=before, suite_candidate=self._passed(candidate)
        )

    def _passed(self, adapter: TrainableAdapter | None) -> list[str]:
        if self.sampler is None:
            raise TrainingFailed(self.model, "its suite cannot be asked: this trainer samples from no engine")
        assert SAMPLING.max_tokens is not None
        packed = None if adapter is None else adapter.pack(self.base.fingerprint, self.base.dtype)
        prompts = [question.prompt for question in self.suite]
        try:
            replies = self.sampler.answers(packed, prompts, tokens_max=SAMPLING.max_tokens)
        except (EngineUnavailable, Refused, InvalidRequest) as error:
            raise TrainingFailed(self.model, f"its suite could not be asked: {error}") from error
        checked = passed(self.suite, [reply.reply for reply in replies])
        return [question.ask for question, is_right in zip(self.suite, checked, strict=True) if is_right]

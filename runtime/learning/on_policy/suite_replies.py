"""Judges a candidate by its person's own suite: replies of it and of what is served now, as served."""

from dataclasses import dataclass

from populace.actors.errors import InvalidRequest, TrainingFailed
from populace.actors.suites import SAMPLING, Suite, SuiteQuestion
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.on_policy.as_served import AsServed
from populace.policies.evaluation_gate import Evaluation
from populace.suites.checking import passed


@dataclass(frozen=True, slots=True)
class SuiteReplies:
    """A ``ReplyJudge``. ``served`` is what the model answers with now, None for the base.

    ``asks`` None: there is no engine that could be asked.
    """

    model: str
    suite: Suite
    asks: AsServed | None
    served: TrainableAdapter | None

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        """Ask both the whole suite. Raises ``TrainingFailed`` if no engine answers."""
        before = self._passed(self.served)
        return evaluation._replace(
            suite_total=len(self.suite), suite_parent=before, suite_candidate=self._passed(candidate)
        )

    def _passed(self, adapter: TrainableAdapter | None) -> list[str]:
        if self.asks is None:
            raise TrainingFailed(self.model, "its suite cannot be asked: this trainer samples from no engine")
        assert SAMPLING.max_tokens is not None
        replies = self.asks.replies(
            adapter, [question.prompt for question in self.suite], SAMPLING.max_tokens
        )
        checked = passed(self.suite, [reply.reply for reply in replies])
        return [question.ask for question, is_right in zip(self.suite, checked, strict=True) if is_right]


def askable(suite: Suite, tokenizer: BaseTokenizer, context_tokens: int) -> Suite:
    """Return the questions that a model can be asked: the base reads them, and has room for a reply.

    The others fail neither candidate nor training; who evaluates the suite is told of them.
    """
    assert SAMPLING.max_tokens is not None
    room = context_tokens - SAMPLING.max_tokens

    def fits(question: SuiteQuestion) -> bool:
        try:
            return len(tokenizer.tokens_of(question.prompt).ids) <= room
        except InvalidRequest:
            return False

    return tuple(question for question in suite if fits(question))

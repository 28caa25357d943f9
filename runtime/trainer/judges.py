"""The judges of a candidate's replies: as it is served, to other wordings, to strangers, to its suite."""

from collections.abc import Sequence
from dataclasses import dataclass

from populace.actors.training import TrainingJob
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_requests import JUDGED
from populace.learning.on_policy.as_served import AsServed
from populace.learning.on_policy.sampler import Sampler
from populace.learning.on_policy.served_replies import ServedJudge
from populace.learning.on_policy.suite_replies import SuiteReplies, askable
from populace.learning.trainer import ReplyJudge
from populace.policies.community import ToldWords
from populace.policies.evaluation_gate import Evaluation
from populace.trainer.datasets import Dataset, TrainingData


@dataclass(frozen=True, slots=True)
class LeakJudge:
    """A ``ReplyJudge`` that looks for private words in general replies.

    What the base says to the same requests, and the requests, tell nothing of anybody.
    """

    told: ToldWords
    requests: Sequence[str] = JUDGED

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        """Count the private words, if general replies were made."""
        del candidate
        general = evaluation.general
        if general is None:
            return evaluation
        leaked = self.told.leaks(general.said, (*general.said_base, *self.requests))
        return evaluation._replace(general=general._replace(private=len(leaked)))


def judges_of(
    job: TrainingJob,
    data: TrainingData,
    dataset: Dataset,
    base: FrozenBase,
    tokenizer: BaseTokenizer,
    sampler: Sampler | None,
    *,
    parent: TrainableAdapter | None,
    served: TrainableAdapter | None,
) -> list[ReplyJudge]:
    """Return the judges, in their order; ``served`` is what answers the suite now.

    Without an engine to sample from only a suite judges, and fails the training.
    """
    name, judges = job.model.name, list[ReplyJudge]()
    asks = None if sampler is None else AsServed(name, base, sampler, data.memory)
    if asks is not None and any(dataset.wanted):
        judges.append(ServedJudge(asks, tokenizer, parent, dataset.wanted))
    if data.contributions is not None:
        judges.append(LeakJudge(data.contributions.told))
    if dataset.wordings is not None:
        judges.append(dataset.wordings)
    suite = data.suite if asks is None else askable(data.suite, tokenizer, asks.sampler.context_tokens)
    if suite:
        judges.append(SuiteReplies(name, suite, asks, served))
    return judges

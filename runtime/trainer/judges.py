"""The judges of a candidate's replies: as it is served, to other wordings, to strangers, to its suite."""

from populace.actors.training import TrainingJob
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.as_served import AsServed
from populace.learning.on_policy.sampler import Sampler
from populace.learning.on_policy.served_replies import ServedJudge
from populace.learning.on_policy.suite_replies import SuiteReplies, askable
from populace.learning.trainer import ReplyJudge
from populace.trainer.datasets import Dataset, TrainingData
from populace.trainer.leaks import LeakJudge


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

"""Judges whether a community's candidate says to strangers what one person alone told."""

from collections.abc import Sequence
from dataclasses import dataclass

from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.general_requests import JUDGED
from populace.policies.community import ToldWords
from populace.policies.evaluation_gate import Evaluation


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

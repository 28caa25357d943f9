# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's split is untyped.
"""Scores adapters on held-out questions and on general text, as they are served."""

from collections.abc import Sequence

import torch
from defaults.kept import Score
from defaults.tasks import Item, right_of

from populace.actors.engine import Message
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import passes_of, score_alone
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.probes import PROBES


def encoded(encoder: ExampleEncoder, items: Sequence[Item]) -> list[TrainSequence]:
    """Return the questions with their answers as tokens; the answer and its end are scored."""
    sequences = [encoder.sequence(item.prompt, item.answer) for item in items]
    return [sequence for sequence in sequences if sequence is not None]


class Reader:
    """Scores adapters beside what they began on: None is the base.

    A greedy reply is the answer just if each of the answer's tokens and its end is the likeliest after the
    ones before it, so that one pass shows all replies and no engine is needed.
    """

    def __init__(
        self,
        base: FrozenBase,
        encoder: ExampleEncoder,
        held_out: Sequence[Item],
        began: TrainableAdapter | None,
    ) -> None:
        self._base = base
        self._items = held_out
        self._sequences = encoded(encoder, held_out)
        probes = [encoder.sequence([Message("user", probe.ask)], probe.answer) for probe in PROBES]
        self._probes = passes_of([probe for probe in probes if probe is not None])
        self._probed = [score_alone(base, began, part).log_probs for part in self._probes]
        self.began = self.score(began)
        """The score of what the adapters began on."""

    @property
    def tokens(self) -> int:
        """The number of tokens that a score takes to read."""
        return sum(len(sequence.ids) for part in (self._sequences, *self._probes) for sequence in part)

    def score(self, adapter: TrainableAdapter | None) -> Score:
        """Read all held-out questions and the general text with the adapter."""
        losses: list[torch.Tensor] = []
        said: list[bool] = []
        for part in passes_of(self._sequences):
            scored = score_alone(self._base, adapter, part)
            losses.append(-scored.target_log_probs)
            likeliest_N = scored.log_probs.argmax(1) == scored.targets
            said += [bool(of_reply.all()) for of_reply in likeliest_N.split(scored.counts)]
        distances = [
            (began.exp() * (began - score_alone(self._base, adapter, part).log_probs)).sum(1)
            for began, part in zip(self._probed, self._probes, strict=True)
        ]
        return Score(
            float(torch.cat(losses).mean()),
            right_of("sums", self._items, said),
            right_of("products", self._items, said),
            float(torch.cat(distances).mean()),
        )

# pyright: reportUnknownMemberType=false
# torch's thread functions are partly untyped.
"""The base's log-likelihood of given replies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from populace.learning.evaluation import reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence

AT_ONCE = 8


class SaidReply(NamedTuple):
    """The token ids of a prompt and of its reply, which is not empty."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]

    @property
    def sequence(self) -> TrainSequence:
        """The prompt and the reply, of which only the reply is scored."""
        weights = (0.0,) * len(self.prompt) + (1.0,) * len(self.reply)
        return TrainSequence((*self.prompt, *self.reply), weights)


def nats_a_token(
    directory: Path,
    fingerprint: str,
    replies: Sequence[SaidReply],
    *,
    threads: int,
    progress: Callable[[], None] = lambda: None,
) -> list[float]:
    """Load the base and return each reply's mean negative log-likelihood, in nats per token.

    The base computes in float32, because bfloat16 rounds a logit of 20 to a tenth, which is as large as the
    differences of interest. ``progress`` is called after each reply.
    """
    torch.set_num_threads(threads)
    base = FrozenBase(directory, fingerprint, dtype=torch.float32)
    scores: list[float] = []
    for start in range(0, len(replies), AT_ONCE):
        part = [reply.sequence for reply in replies[start : start + AT_ONCE]]
        scores += reply_losses(base, None, part)
        for _ in part:
            progress()
    return scores

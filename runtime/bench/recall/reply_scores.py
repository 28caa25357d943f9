# pyright: reportUnknownMemberType=false
# torch's thread functions are partly untyped.
"""How likely the base finds replies, whoever said them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from populace.learning.evaluation import reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence

AT_ONCE = 8


class SaidReply(NamedTuple):
    """Token ids of a prompt, and of what was said to it; one at least."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]

    @property
    def sequence(self) -> TrainSequence:
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
    """Load the base and return each reply's mean negative log-likelihood, in nats a token.

    In float32: bfloat16 would round a logit of 20 to a tenth, as much as what is to be told apart.
    """
    torch.set_num_threads(threads)
    base = FrozenBase(directory, fingerprint, dtype=torch.float32)
    found: list[float] = []
    for start in range(0, len(replies), AT_ONCE):
        part = [reply.sequence for reply in replies[start : start + AT_ONCE]]
        found += reply_losses(base, None, part)
        for _ in part:
            progress()
    return found

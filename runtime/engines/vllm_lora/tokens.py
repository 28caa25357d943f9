# pyright: reportUnknownMemberType=false
# torch.from_numpy is partly untyped.
"""Sorts the tokens of a step by the adapters that they use."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

BASE = -1
"""The slot of tokens without an adapter."""


class StepTokens(NamedTuple):
    """The tokens of a step by their adapters.

    ``few`` [.., 2] has a token and its slot in each row, ``many`` the tokens of a slot that are more than
    ``few_max``.
    """

    few: NDArray[np.int64]
    many: tuple[tuple[int, torch.Tensor], ...]


def step_tokens(slots: torch.Tensor, *, few_max: int) -> StepTokens:
    """Sort a step's tokens; ``slots`` [tokens] has the slot of each, ``BASE`` for none."""
    found = slots.numpy()
    with_adapter = np.flatnonzero(found != BASE)
    of_tokens = found[with_adapter]
    numbers, counts = np.unique(of_tokens, return_counts=True)
    large = numbers[counts > few_max]
    is_few = ~np.isin(of_tokens, large)
    few = np.stack([with_adapter[is_few], of_tokens[is_few]], axis=1).astype(np.int64)
    many = tuple((int(slot), torch.from_numpy(with_adapter[of_tokens == slot])) for slot in large)
    return StepTokens(np.ascontiguousarray(few), many)

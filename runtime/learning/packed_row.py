"""The sequences that several adapters read, as one row of tokens.

The sequences of one adapter are a prefix tree: what they begin with alike is in the row once, as causal
attention gives it the same hidden states in all of them. Chats begin with one system prompt, the rollouts of
one prompt and the two replies of a preference with a whole conversation. A step that teaches a few
corrections has half as many tokens by that.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

from populace.adapters.lora.attached import AdapterSpan
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.methods.objective import TrainSequence


class Reading(NamedTuple):
    """Sequences that are scored with one adapter; ``adapter`` None is the base."""

    adapter: TrainableAdapter | None
    sequences: Sequence[TrainSequence]


class PackedRow(NamedTuple):
    """The row's token ids and their positions in their sequences, and where each sequence is in it.

    ``paths`` has the places in the row of each sequence's tokens, in order. The logits of the scored tokens,
    ``targets``, are at ``places``. ``spans`` are the tokens of each reading; ``counts`` and ``lengths`` are
    the scored tokens and all tokens of its sequences.
    """

    ids: list[int]
    positions: list[int]
    paths: list[list[int]]
    places: list[int]
    targets: list[int]
    spans: list[AdapterSpan]
    counts: list[tuple[int, ...]]
    lengths: list[tuple[int, ...]]

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Self:
        row = cls([], [], [], [], [], [], [], [])
        for adapter, sequences in readings:
            begin = len(row.ids)
            after: dict[tuple[int, int], int] = {}
            for sequence in sequences:
                path = row._path(sequence.ids, after)
                row.paths.append(path)
                # The logits of a token are at the place of the token before it.
                row.places.extend(path[at - 1] for at in sequence.scored)
                row.targets.extend(sequence.ids[at] for at in sequence.scored)
            row.spans.append(AdapterSpan(begin, len(row.ids), adapter))
            row.counts.append(tuple(len(sequence.scored) for sequence in sequences))
            row.lengths.append(tuple(len(sequence.ids) for sequence in sequences))
        return row

    def _path(self, ids: Sequence[int], after: dict[tuple[int, int], int]) -> list[int]:
        """Return the places of a sequence's tokens, adding those that no other one of its reading has.

        ``after`` has the place of each token by the place before it, -1 at the beginning, and its id.
        """
        path, before = list[int](), -1
        for position, token in enumerate(ids):
            place = after.setdefault((before, token), len(self.ids))
            if place == len(self.ids):
                self.ids.append(token)
                self.positions.append(position)
            path.append(place)
            before = place
        return path

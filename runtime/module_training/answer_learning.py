# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim is partly untyped.
"""Learning to recall and to answer, from what the base computed once: all of a gated module but its gates.

Shape suffixes: L = layers with a memory, P = tokens of answers that a step learns from, B = episodes,
N = states, R = rank, H = hidden width, V = vocabulary, W = what all states of a layer read.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from populace.adapters.memory.answer_head import AnswerHead
from populace.adapters.memory.gated_layer import Told
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.adapters.memory.module import MemoryModule
from populace.module_training.encoding import FIRST_TOKENS
from populace.module_training.recall import Validation
from populace.module_training.stored_inputs import StoredInputs

WORDS = 384
"""Tokens of a step that are not of values: all would take longer than they teach."""

SIZE_MIN = 1e-2
HEAD_STEP = 0.2
"""What steps of the answer head are relative to: the words around values begin as nothing."""

Drop = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How to learn. ``step_size`` is relative to each tensor's own size; ``dropped`` is the share of the
    inputs that a step leaves out at random, the same for all tokens.
    """

    steps: int = 1000
    batch: int = 32
    step_size: float = 0.007
    warm_up: int = 50
    dropped: float = 0.15
    validate_every: int = 100
    seed: int = 0


class Scored(NamedTuple):
    """Of each token [P] of answers: nats, nats of the head's gate, whether it was the most likely one, and
    whether it is of a value. Of the first tokens of answers: nats of whether what is asked for was told.
    """

    nats: torch.Tensor
    gate_nats: torch.Tensor
    right: torch.Tensor
    is_value: torch.Tensor
    told_nats: torch.Tensor

    @property
    def value_loss(self) -> torch.Tensor:
        """Nats a token of a value."""
        return _mean(self.nats[self.is_value])

    @property
    def loss(self) -> torch.Tensor:
        """What is learned from: values, the words around them, which is which, and what was told at all.

        The gate sees words less often than answers have them (``WORDS``, and ``WORDS_SHARE`` of stored
        inputs), so it opens rather too easily: a value that is not repeated costs more.
        """
        words_loss = _mean(self.nats[~self.is_value])
        return self.value_loss + words_loss + 2 * self.gate_nats.mean() + _mean(self.told_nats)


class AnswerLearning:
    """Trains a module in place. ``embeddings`` [V, H] are the base's output embeddings."""

    def __init__(self, memory: MemoryModule, embeddings_VH: torch.Tensor, options: AnswerOptions) -> None:
        self._memory = memory
        # Half of the time of a step is the product with these.
        self._embeddings_VH = embeddings_VH.bfloat16()
        self._options = options
        self._generator = torch.Generator().manual_seed(options.seed)
        # Says of how much is read whether anything was told: the first words of an answer alone teach that
        # too slowly. Of no use afterwards.
        self._told = torch.nn.Linear(len(memory.layers) * memory.shape.states, 1)
        torch.nn.init.ones_(self._told.weight)
        torch.nn.init.constant_(self._told.bias, -1.0)

    def run(
        self,
        train: Sequence[StoredInputs],
        *,
        stepped: Callable[[int, Scored], None],
        validate: Callable[[int], None],
    ) -> None:
        """Take all steps; ``validate`` is called before the first, every so many, and after the last."""
        options = self._options
        # The gates are fitted: nothing of a loss reaches them.
        named = [*self._memory.named_parameters(), *self._told.named_parameters(prefix="answer_head.told")]
        learned = {name: parameter for name, parameter in named if not name.startswith("gates.")}
        optimizer = torch.optim.AdamW(
            [{"params": [parameter], "size": _size(name, parameter)} for name, parameter in learned.items()],
            lr=0.0,
            weight_decay=0.0,
            betas=(0.9, 0.99),
        )
        for number, episodes in zip(range(options.steps), _batches(train, options), strict=False):
            if number % options.validate_every == 0:
                validate(number)
            falling = 0.5 * (1 + math.cos(math.pi * number / options.steps))
            for group in optimizer.param_groups:
                group["lr"] = (
                    group["size"] * options.step_size * min(1.0, (number + 1) / options.warm_up) * falling
                )
            scored = self._scored(episodes, self._chosen(episodes), self._dropping())
            optimizer.zero_grad()
            scored.loss.backward()
            torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
            optimizer.step()
            stepped(number + 1, scored)
        validate(options.steps)

    @torch.no_grad()
    def validated(self, step: int, held_out: Sequence[StoredInputs]) -> Validation:
        """Score episodes whose answers are all there, of which some must have a value."""
        every: list[Scored] = []
        exact: list[torch.Tensor] = []
        for first in range(0, len(held_out), self._options.batch):
            episodes = held_out[first : first + self._options.batch]
            scored = self._scored(episodes, [torch.arange(len(one.targets)) for one in episodes], _as_it_is)
            every.append(scored)
            exact.append(_right_answers(episodes, scored))
        all_ = Scored(*(torch.cat(parts) for parts in zip(*every, strict=True)))
        return Validation(
            step, float(all_.loss), float(all_.value_loss), float(torch.cat(exact).float().mean())
        )

    def _chosen(self, episodes: Sequence[StoredInputs]) -> list[torch.Tensor]:
        """The places of all value tokens, and of some of the others."""
        others = sum(int((~one.is_value).sum()) for one in episodes)
        share = min(1.0, WORDS / max(others, 1))
        return [
            (one.is_value | (torch.rand(len(one.is_value), generator=self._generator) < share)).nonzero()[
                :, 0
            ]
            for one in episodes
        ]

    def _dropping(self) -> Drop:
        dropped, generator = self._options.dropped, self._generator

        def drop(inputs: torch.Tensor) -> torch.Tensor:
            kept_H = torch.rand(inputs.shape[-1], generator=generator) >= dropped
            return inputs * (kept_H / (1 - dropped))

        return drop

    def _scored(self, episodes: Sequence[StoredInputs], chosen: Sequence[torch.Tensor], drop: Drop) -> Scored:
        """Write what was told, read it before each chosen token, and compare with the whole vocabulary.

        Nothing less will do: it is the few that the base would say by itself ("called", "a") that win.
        """
        head = self._memory.answer_head
        assert isinstance(head, AnswerHead)
        pairs = list(zip(episodes, chosen, strict=True))
        last_PH = torch.cat([one.last[places] for one, places in pairs]).float()
        targets_P = torch.cat([one.targets[places] for one, places in pairs])
        is_value_P = torch.cat([one.is_value[places] for one, places in pairs])
        is_first_P = torch.cat([_first_tokens(one.answers)[places] for one, places in pairs])
        is_told_P = torch.cat([_has_value(one)[places] for one, places in pairs])
        read_PLW = read_back(self._memory, episodes, chosen, drop)
        added_PH, opens_P = head.parts(last_PH, read_PLW)
        told_F = self._told(read_PLW[is_first_P][..., self._memory.shape.width :].flatten(1)).squeeze(-1)
        logits_PV = ((last_PH + added_PH).bfloat16() @ self._embeddings_VH.T).float()
        return Scored(
            functional.cross_entropy(logits_PV, targets_P, reduction="none"),
            functional.binary_cross_entropy_with_logits(opens_P, is_value_P.float(), reduction="none"),
            logits_PV.argmax(-1) == targets_P,
            is_value_P,
            functional.binary_cross_entropy_with_logits(
                told_F, is_told_P[is_first_P].float(), reduction="none"
            ),
        )


def _right_answers(episodes: Sequence[StoredInputs], scored: Scored) -> torch.Tensor:
    """Of each answer with a value whether all its tokens are right."""
    numbers: list[torch.Tensor] = []
    count = 0
    for one in episodes:
        numbers.append(one.answers + count)
        count += int(one.answers.max()) + 1 if len(one.answers) else 0
    of_values = torch.cat(numbers)[scored.is_value]
    wrong = torch.zeros(count).index_add(0, of_values, (~scored.right[scored.is_value]).float())
    return wrong[of_values.unique()] == 0


def _first_tokens(answers_A: torch.Tensor) -> torch.Tensor:
    """Which tokens are among the ``FIRST_TOKENS`` of their answer; they are all there."""
    begins_A = torch.ones_like(answers_A, dtype=torch.bool)
    begins_A[1:] = answers_A[1:] != answers_A[:-1]
    first_A = begins_A.clone()
    for distance in range(1, FIRST_TOKENS):
        first_A[distance:] |= begins_A[:-distance]
    return first_A


def _has_value(episode: StoredInputs) -> torch.Tensor:
    """Of each token whether its answer has a value."""
    found = torch.zeros(int(episode.answers.max()) + 1 if len(episode.answers) else 0, dtype=torch.bool)
    found[episode.answers[episode.is_value]] = True
    return found[episode.answers]


def _mean(nats: torch.Tensor) -> torch.Tensor:
    """Of nothing it is 0: a step may have no value."""
    return nats.sum() / max(len(nats), 1)


def read_back(
    memory: MemoryModule, episodes: Sequence[StoredInputs], chosen: Sequence[torch.Tensor], drop: Drop
) -> torch.Tensor:
    """Write what was told, and return what is read [P, L, W] before the chosen tokens of answers."""
    messages_BT = torch.nn.utils.rnn.pad_sequence(
        [one.messages for one in episodes], batch_first=True, padding_value=NOT_WRITTEN
    )
    embedded_BTH = _side_by_side([one.embedded for one in episodes])
    rows_P = torch.cat([torch.full((len(places),), row) for row, places in enumerate(chosen)])
    fresh_LBNRR = memory.fresh_states(len(episodes))
    reads: list[torch.Tensor] = []
    for number in range(len(memory.layers)):
        layer = memory.gated_layer(number)
        told_BTH = _side_by_side([one.told[number] for one in episodes])
        projected = layer.projected(Told(told_BTH, embedded_BTH), drop)
        state_BNRR = layer.write_projected(projected, fresh_LBNRR[number], messages_BT)
        asked = [one.asked[number][places] for one, places in zip(episodes, chosen, strict=True)]
        asked_PH = drop(torch.cat(asked).float())
        reads.append(layer.answers(asked_PH.unsqueeze(1), state_BNRR[rows_P])[:, 0])
    return torch.stack(reads, dim=1)


def _side_by_side(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([one.float() for one in parts], batch_first=True)


def _as_it_is(inputs: torch.Tensor) -> torch.Tensor:
    return inputs


def _size(name: str, parameter: torch.Tensor) -> float:
    """What a tensor's steps are relative to: its own size, or the size that it comes to."""
    size = max(float(parameter.detach().square().mean().sqrt()), SIZE_MIN)
    return max(size, HEAD_STEP) if name.startswith("answer_head.") and "repeated" not in name else size


def _batches(train: Sequence[StoredInputs], options: AnswerOptions) -> Iterator[list[StoredInputs]]:
    source = random.Random(options.seed)  # noqa: S311 - not a secret
    while True:
        order = list(range(len(train)))
        source.shuffle(order)
        for start in range(0, len(order), options.batch):
            yield [train[index] for index in order[start : start + options.batch]]

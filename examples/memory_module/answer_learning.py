# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim is partly untyped.
"""Trains all parts of a gated module except its gates, on hidden inputs that the base computed once.

Shape suffixes: L = layers with a memory, P = scored tokens of a step, F = first tokens of answers among them,
A = tokens of an episode's answers, B = episodes, T = told tokens, N = states, R = rank, H = hidden width,
V = vocabulary, W = what all states of a layer read.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from examples.memory_module.encoding import FIRST_TOKENS
from examples.memory_module.recall import Validation
from examples.memory_module.stored_inputs import StoredInputs
from populace.adapters.memory.gated_layer import Told
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.adapters.memory.module import AnswerHead, MemoryModule

WORDS_A_STEP = 384
"""About this many tokens outside values are scored in a step: all of them would cost time and add little."""

SIZE_MIN = 1e-2
"""The step of a parameter tensor is relative to at least this size."""

HEAD_SIZE_MIN = 0.2
"""The same for tensors of the answer head: those for the words around values are zero before training."""

Drop = Callable[[torch.Tensor], torch.Tensor]
"""A dropout over the features of hidden inputs [.., H]."""


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """Options of ``AnswerLearning``.

    ``batch`` is in episodes. ``step_size`` is relative to the root mean square of each parameter tensor; it
    rises over ``warm_up`` steps and decays as a cosine. ``dropped`` is the share of the hidden features that
    a step drops at random, the same ones for all tokens.
    """

    steps: int = 1000
    batch: int = 32
    step_size: float = 0.007
    warm_up: int = 50
    dropped: float = 0.15
    validate_every: int = 100
    seed: int = 0


class Scored(NamedTuple):
    """Scores of the answers' tokens.

    For each token [P]: its cross-entropy ``nats``, that of the head's gate, whether it was the most likely
    token, and whether it is of a value. ``told_nats`` [F] are the cross-entropies of the prediction whether
    the value asked for was told.
    """

    nats: torch.Tensor
    gate_nats: torch.Tensor
    right: torch.Tensor
    is_value: torch.Tensor
    told_nats: torch.Tensor

    @property
    def value_loss(self) -> torch.Tensor:
        """The mean cross-entropy of value tokens, in nats a token."""
        return _mean(self.nats[self.is_value])

    @property
    def loss(self) -> torch.Tensor:
        """The training loss: values, words around them, the gate between both, and what was told at all.

        The gate sees fewer words around values than answers have (``WORDS_A_STEP``, and ``WORDS_SHARE`` of
        the stored inputs), so it opens rather too often, which costs less than failing to repeat a value.
        """
        words_loss = _mean(self.nats[~self.is_value])
        return self.value_loss + words_loss + 2 * self.gate_nats.mean() + _mean(self.told_nats)


class AnswerLearning:
    """Trains a gated module in place. ``embeddings_VH`` are the base's output embeddings."""

    def __init__(self, memory: MemoryModule, embeddings_VH: torch.Tensor, options: AnswerOptions) -> None:
        self._memory = memory
        # In bfloat16, since the product with them takes half of a step's time.
        self._embeddings_VH = embeddings_VH.bfloat16()
        self._options = options
        self._generator = torch.Generator().manual_seed(options.seed)
        # An auxiliary classifier: from what is read it predicts whether a value was told. The first words of
        # the answers alone teach that too slowly. It is dropped after training.
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
        """Take all steps; ``validate`` is called every ``validate_every`` steps, from 0, and at the end."""
        options = self._options
        # The gates are fitted separately; the loss does not depend on them.
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
            scored = self._scored(episodes, self._sample(episodes), self._dropout())
            optimizer.zero_grad()
            scored.loss.backward()
            torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
            optimizer.step()
            stepped(number + 1, scored)
        validate(options.steps)

    @torch.no_grad()
    def validated(self, step: int, held_out: Sequence[StoredInputs]) -> Validation:
        """Score held-out episodes that were stored with all tokens of their answers.

        At least one answer must have a value.
        """
        batches: list[Scored] = []
        exact: list[torch.Tensor] = []
        for first in range(0, len(held_out), self._options.batch):
            episodes = held_out[first : first + self._options.batch]
            every_token = [torch.arange(len(episode.targets)) for episode in episodes]
            scored = self._scored(episodes, every_token, _no_dropout)
            batches.append(scored)
            exact.append(_right_answers(episodes, scored))
        total = Scored(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
        return Validation(
            step, float(total.loss), float(total.value_loss), float(torch.cat(exact).float().mean())
        )

    def _sample(self, episodes: Sequence[StoredInputs]) -> list[torch.Tensor]:
        """Return the places of all value tokens and of a random sample of the others, by episode."""
        others = sum(int((~episode.is_value).sum()) for episode in episodes)
        share = min(1.0, WORDS_A_STEP / max(others, 1))
        return [
            (
                episode.is_value | (torch.rand(len(episode.is_value), generator=self._generator) < share)
            ).nonzero()[:, 0]
            for episode in episodes
        ]

    def _dropout(self) -> Drop:
        dropped, generator = self._options.dropped, self._generator

        def drop(inputs: torch.Tensor) -> torch.Tensor:
            kept_H = torch.rand(inputs.shape[-1], generator=generator) >= dropped
            return inputs * (kept_H / (1 - dropped))

        return drop

    def _scored(self, episodes: Sequence[StoredInputs], chosen: Sequence[torch.Tensor], drop: Drop) -> Scored:
        """Write what was told, read before each chosen token, and score that over the whole vocabulary.

        Sampled negatives do not suffice: the competitors are the few tokens that the base itself finds likely
        there ("called", "a").
        """
        head = self._memory.answer_head
        assert isinstance(head, AnswerHead)
        pairs = list(zip(episodes, chosen, strict=True))
        last_PH = torch.cat([episode.last[places] for episode, places in pairs]).float()
        targets_P = torch.cat([episode.targets[places] for episode, places in pairs])
        is_value_P = torch.cat([episode.is_value[places] for episode, places in pairs])
        is_first_P = torch.cat([_first_tokens(episode.answers)[places] for episode, places in pairs])
        is_told_P = torch.cat([_has_value(episode)[places] for episode, places in pairs])
        read_PLW = read_back(self._memory, episodes, chosen, drop)
        added_PH, gate_P = head.parts(last_PH, read_PLW)
        told_F = self._told(read_PLW[is_first_P][..., self._memory.shape.width :].flatten(1)).squeeze(-1)
        logits_PV = ((last_PH + added_PH).bfloat16() @ self._embeddings_VH.T).float()
        return Scored(
            functional.cross_entropy(logits_PV, targets_P, reduction="none"),
            functional.binary_cross_entropy_with_logits(gate_P, is_value_P.float(), reduction="none"),
            logits_PV.argmax(-1) == targets_P,
            is_value_P,
            functional.binary_cross_entropy_with_logits(
                told_F, is_told_P[is_first_P].float(), reduction="none"
            ),
        )


def _right_answers(episodes: Sequence[StoredInputs], scored: Scored) -> torch.Tensor:
    """Return for each answer with a value whether all tokens of the value are right."""
    numbers: list[torch.Tensor] = []
    count = 0
    for episode in episodes:
        numbers.append(episode.answers + count)
        count += int(episode.answers.max()) + 1 if len(episode.answers) else 0
    answers = torch.cat(numbers)[scored.is_value]
    wrong = torch.zeros(count).index_add(0, answers, (~scored.right[scored.is_value]).float())
    return wrong[answers.unique()] == 0


def _first_tokens(answers_A: torch.Tensor) -> torch.Tensor:
    """Return which tokens are among the first ``FIRST_TOKENS`` of their answer, all of which are stored."""
    begins_A = torch.ones_like(answers_A, dtype=torch.bool)
    begins_A[1:] = answers_A[1:] != answers_A[:-1]
    first_A = begins_A.clone()
    for distance in range(1, FIRST_TOKENS):
        first_A[distance:] |= begins_A[:-distance]
    return first_A


def _has_value(episode: StoredInputs) -> torch.Tensor:
    """Return for each token whether its answer has a value."""
    has_value = torch.zeros(int(episode.answers.max()) + 1 if len(episode.answers) else 0, dtype=torch.bool)
    has_value[episode.answers[episode.is_value]] = True
    return has_value[episode.answers]


def _mean(nats: torch.Tensor) -> torch.Tensor:
    """Return the mean, or 0 for an empty tensor: a step may have no token of a kind."""
    return nats.sum() / max(len(nats), 1)


def read_back(
    memory: MemoryModule, episodes: Sequence[StoredInputs], chosen: Sequence[torch.Tensor], drop: Drop
) -> torch.Tensor:
    """Write what was told into empty states, and return what is read [P, L, W] before the chosen tokens.

    ``chosen`` has the places among each episode's answer tokens. Differentiable in the memory's parameters.
    """
    messages_BT = torch.nn.utils.rnn.pad_sequence(
        [episode.messages for episode in episodes], batch_first=True, padding_value=NOT_WRITTEN
    )
    embedded_BTH = _padded([episode.embedded for episode in episodes])
    rows_P = torch.cat([torch.full((len(places),), row) for row, places in enumerate(chosen)])
    fresh_LBNRR = memory.fresh_states(len(episodes))
    reads: list[torch.Tensor] = []
    for number in range(len(memory.layers)):
        layer = memory.gated_layer(number)
        told_BTH = _padded([episode.told[number] for episode in episodes])
        projected = layer.projected(Told(told_BTH, embedded_BTH), drop)
        state_BNRR = layer.write_projected(projected, fresh_LBNRR[number], messages_BT)
        asked = [episode.asked[number][places] for episode, places in zip(episodes, chosen, strict=True)]
        asked_PH = drop(torch.cat(asked).float())
        reads.append(layer.answers(asked_PH.unsqueeze(1), state_BNRR[rows_P])[:, 0])
    return torch.stack(reads, dim=1)


def _padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([row.float() for row in rows], batch_first=True)


def _no_dropout(inputs: torch.Tensor) -> torch.Tensor:
    return inputs


def _size(name: str, parameter: torch.Tensor) -> float:
    """Return the size to which a tensor's steps are relative: its root mean square, with a minimum."""
    size = max(float(parameter.detach().square().mean().sqrt()), SIZE_MIN)
    return max(size, HEAD_SIZE_MIN) if name.startswith("answer_head.") and "repeated" not in name else size


def _batches(train: Sequence[StoredInputs], options: AnswerOptions) -> Iterator[list[StoredInputs]]:
    source = random.Random(options.seed)
    while True:
        order = list(range(len(train)))
        source.shuffle(order)
        for start in range(0, len(order), options.batch):
            yield [train[index] for index in order[start : start + options.batch]]

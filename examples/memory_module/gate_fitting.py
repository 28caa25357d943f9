# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim and transformers' models are partly untyped.
"""Fits the two gates of a memory module to the labels that episodes have for their messages.

Each gate is a logistic regression on the input of the first layer with a memory, at the last token of a
message of the person: whether the message tells something about the person, and whether it asks about them.
The thresholds are set on texts that the regressions did not see, so that few general requests open the read
gate and few messages that tell something are not written.

Shape suffixes: S = messages, H = hidden width.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from examples.memory_module.episodes import Episode
from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.adapters.memory.attached import given_hidden
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.module import Gates
from populace.engines.prompts import BaseTokenizer

PENALTY = 0.01
"""The coefficient of the squared weights, for standardised inputs, in the loss of a regression."""

READ_FALSE_POSITIVES = 0.02
"""The read gate may open for this share of the messages that neither tell nor ask about the person.

Messages that tell something are not counted: they differ so much from questions that the threshold would be
too low for general requests.
"""

NEITHER_WEIGHT = 3.0
"""The weight in the regressions of a message that neither tells nor asks about the person.

Episodes have few of them, but most messages of real people are of this kind.
"""

WRITE_FALSE_NEGATIVES = 0.03
"""The write gate may be closed for this share of the messages that tell something."""

CALIBRATION_SHARE = 0.2
"""This share of the texts, chosen by their hashes, is used for the thresholds and not for the regressions."""

BATCH = 16
"""Number of prompts in a forward pass."""


class _Sample(NamedTuple):
    messages: tuple[Message, ...]
    tells: bool
    asks: bool

    @property
    def calibrates(self) -> bool:
        digest = hashlib.sha256(self.messages[-1].content.encode()).digest()
        return digest[0] / 256 < CALIBRATION_SHARE


def fit_gates(
    model: PreTrainedModel,
    tokenizer: BaseTokenizer,
    layer: AttentionLayer,
    gates: Gates,
    episodes: Iterable[Episode],
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> None:
    """Fit both gates in place. ``layer`` is the first attention layer with a memory.

    Raises ``InvalidRequest`` if the episodes lack messages that tell, that ask, or that do neither.
    """
    samples = sorted(
        dict.fromkeys(sample for episode in episodes for sample in _samples(episode)),
        key=lambda sample: sum(len(message.content) for message in sample.messages),
    )
    calibrates = torch.tensor([sample.calibrates for sample in samples])
    tells = torch.tensor([sample.tells for sample in samples])
    asks = torch.tensor([sample.asks for sample in samples])
    neither = ~tells & ~asks
    for wanted in (tells, asks, neither):
        if not bool((wanted & calibrates).any()) or not bool((wanted & ~calibrates).any()):
            raise InvalidRequest(
                "The gates need messages that tell something about the person, questions about the person, "
                "and messages that do neither: take some hundreds of episodes made with --own-words.",
                "episodes",
            )
    inputs_SH = _inputs(model, tokenizer, layer, samples, progress)
    fits = ~calibrates
    weights_S = torch.where(neither, NEITHER_WEIGHT, 1.0)[fits]
    with torch.no_grad():
        weight_H, bias = _regression(inputs_SH[fits], asks[fits], weights_S)
        level = (inputs_SH[calibrates & neither] @ weight_H + bias).quantile(1 - READ_FALSE_POSITIVES)
        gates.read_weight.copy_(weight_H)
        gates.read_bias.fill_(float(bias - level))
        weight_H, bias = _regression(inputs_SH[fits], tells[fits], weights_S)
        level = (inputs_SH[calibrates & tells] @ weight_H + bias).quantile(WRITE_FALSE_NEGATIVES)
        gates.write_weight.copy_(weight_H)
        gates.write_bias.fill_(float(bias - level))


def nearest_to_opening(
    model: PreTrainedModel,
    tokenizer: BaseTokenizer,
    layer: AttentionLayer,
    gates: Gates,
    requests: Sequence[str],
    count: int,
) -> list[str]:
    """Return the ``count`` requests with the highest logits of the read gate, highest first."""
    samples = [
        _Sample((Message("user", request),), tells=False, asks=False) for request in sorted(requests, key=len)
    ]
    if not samples:
        return []
    logits_S = gates.read(_inputs(model, tokenizer, layer, samples, lambda _: None))
    return [samples[place].messages[0].content for place in logits_S.topk(min(count, len(samples))).indices]


def _samples(episode: Episode) -> Iterable[_Sample]:
    """Yield each of the person's messages with its conversation so far, and each question alone."""
    conversation: list[Message] = []
    for said in episode.messages:
        if said.fresh:
            conversation = []
        conversation.append(said.message)
        if said.role == "user":
            yield _Sample(tuple(conversation), said.tells, asks=False)
    for question in episode.questions:
        yield _Sample((Message("user", question.ask),), tells=False, asks=question.answer is not None)


@torch.no_grad()
def _inputs(
    model: PreTrainedModel,
    tokenizer: BaseTokenizer,
    layer: AttentionLayer,
    samples: Sequence[_Sample],
    progress: Callable[[float], None],
) -> torch.Tensor:
    """Return the layer's inputs [S, H] at the last token of each sample's prompt."""
    inputs: list[torch.Tensor] = []

    class Recorded(Exception):
        """Ends a forward pass: later layers are not needed."""

    def record(_: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        hidden_BTH = given_hidden(args, options)
        inputs.append(hidden_BTH[torch.arange(len(lengths)), lengths - 1].float())
        raise Recorded

    hook = model.get_submodule(layer.name).register_forward_pre_hook(record, with_kwargs=True)
    try:
        for start in range(0, len(samples), BATCH):
            prompts = [tokenizer.tokens_of(sample.messages).ids for sample in samples[start : start + BATCH]]
            lengths = torch.tensor([len(ids) for ids in prompts])
            filled = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
            for row, ids in enumerate(prompts):
                filled[row, : len(ids)] = torch.tensor(ids)
            mask = torch.arange(filled.shape[1]) < lengths[:, None]
            try:
                cast("Any", model.base_model)(input_ids=filled, attention_mask=mask.long(), use_cache=False)
            except Recorded:
                progress(min(1.0, (start + BATCH) / len(samples)))
    finally:
        hook.remove()
    return torch.cat(inputs)


@torch.enable_grad()
def _regression(
    inputs_SH: torch.Tensor, wanted_S: torch.Tensor, weights_S: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit a penalised logistic regression and return its weight [H] and bias for inputs not standardised."""
    mean_H, deviation_H = inputs_SH.mean(0), inputs_SH.std(0) + 1e-6
    standard_SH, target_S = (inputs_SH - mean_H) / deviation_H, wanted_S.float()
    weight_H = torch.zeros(standard_SH.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_H, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(
            standard_SH @ weight_H + bias, target_S, weights_S
        )
        value = value + PENALTY * weight_H.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType] - a float in its stub
    weight_H = weight_H.detach() / deviation_H
    return weight_H, bias.detach() - mean_H @ weight_H

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim and transformers' models are partly untyped.
"""The two gates of a memory module, fitted to what episodes say of their messages.

Logistic regression on the input of the first layer with a memory, at the last token of a message of the
person: does it tell something, does it ask about the person? The thresholds come from texts that the
regression did not see: few general requests may open the read gate, and few tellings be left out.

Shape suffixes: S = messages, H = hidden width.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.adapters.memory.attached import given_hidden
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gates import Gates
from populace.engines.prompts import BaseTokenizer
from populace.module_training.episodes import Episode

PENALTY = 0.01
"""Of the squared weights on standardised inputs."""

OPENED_WRONGLY = 0.02
"""The share of messages that neither tell nor ask about the person at which the read gate may open.

Of these alone: what tells something is so unlike a question that it would hide how often a request opens it.
"""

NEITHER_WEIGHT = 3.0
"""Of such a message in the regression, of which episodes have few and people say most."""

CLOSED_WRONGLY = 0.03
"""The share of tellings at which the write gate may stay closed."""

CALIBRATION_SHARE = 0.2
"""Of all texts, by a hash of each: kept for the thresholds."""

BATCH = 16


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
    """Fit both gates in place. ``layer`` is the first one with a memory.

    Raises ``InvalidRequest`` if the episodes have no message of one of the kinds.
    """
    samples = sorted(
        dict.fromkeys(sample for episode in episodes for sample in _samples(episode)),
        key=lambda sample: sum(len(message.content) for message in sample.messages),
    )
    kept = torch.tensor([sample.calibrates for sample in samples])
    tells = torch.tensor([sample.tells for sample in samples])
    asks = torch.tensor([sample.asks for sample in samples])
    neither = ~tells & ~asks
    for wanted in (tells, asks, neither):
        if not bool((wanted & kept).any()) or not bool((wanted & ~kept).any()):
            raise InvalidRequest(
                "The gates take tellings, questions about the person, and messages that are neither: some "
                "hundreds of episodes made with --own-words.",
                "episodes",
            )
    inputs_SH = _inputs(model, tokenizer, layer, samples, progress)
    weights_S = torch.where(neither, NEITHER_WEIGHT, 1.0)[~kept]
    with torch.no_grad():
        weight_H, bias = _regression(inputs_SH[~kept], asks[~kept], weights_S)
        level = (inputs_SH[kept & neither] @ weight_H + bias).quantile(1 - OPENED_WRONGLY)
        gates.read_weight.copy_(weight_H)
        gates.read_bias.fill_(float(bias - level))
        weight_H, bias = _regression(inputs_SH[~kept], tells[~kept], weights_S)
        level = (inputs_SH[kept & tells] @ weight_H + bias).quantile(CLOSED_WRONGLY)
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
    """Return so many of the requests for which the read gate is open or nearest to it."""
    samples = [_Sample((Message("user", one),), tells=False, asks=False) for one in sorted(requests, key=len)]
    if not samples:
        return []
    opens_S = gates.read(_inputs(model, tokenizer, layer, samples, lambda _: None))
    return [samples[place].messages[0].content for place in opens_S.topk(min(count, len(samples))).indices]


def _samples(episode: Episode) -> Iterable[_Sample]:
    """Each of the person's messages as the last of its conversation, and each question alone."""
    before: list[Message] = []
    for said in episode.messages:
        if said.fresh:
            before = []
        before.append(said.message)
        if said.role == "user":
            yield _Sample(tuple(before), said.tells, asks=False)
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
    """The layer's inputs [S, H] at the last tokens of the prompts that end with each sample."""
    found: list[torch.Tensor] = []

    class Noted(Exception):
        pass

    def note(_: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        hidden_BTH = given_hidden(args, options)
        found.append(hidden_BTH[torch.arange(len(lengths)), lengths - 1].float())
        raise Noted

    hook = model.get_submodule(layer.name).register_forward_pre_hook(note, with_kwargs=True)
    try:
        for start in range(0, len(samples), BATCH):
            prompts = [tokenizer.tokens_of(one.messages).ids for one in samples[start : start + BATCH]]
            lengths = torch.tensor([len(ids) for ids in prompts])
            filled = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
            for row, ids in enumerate(prompts):
                filled[row, : len(ids)] = torch.tensor(ids)
            mask = torch.arange(filled.shape[1]) < lengths[:, None]
            try:
                cast("Any", model.base_model)(input_ids=filled, attention_mask=mask.long(), use_cache=False)
            except Noted:
                progress(min(1.0, (start + BATCH) / len(samples)))
    finally:
        hook.remove()
    return torch.cat(found)


@torch.enable_grad()
def _regression(
    inputs_SH: torch.Tensor, wanted_S: torch.Tensor, weights_S: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight [H] and bias for inputs as they are."""
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

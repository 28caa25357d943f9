# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""Scores a memory module: episodes are written into empty states, then their questions are asked."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from examples.memory_module.encoding import VALUE_WEIGHT, Batch, Rows
from populace.adapters.memory.attached import AttachedMemory, MemoryPass, given_hidden
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.adapters.memory.module import MemoryModule


class Recall(NamedTuple):
    """The scores of a batch. ``loss`` is the weighted mean cross-entropy of the answers, in nats a token.

    ``value_loss`` is that of the value tokens alone. ``exact`` has for each answer with a value whether every
    token of the value was the most likely one, so that greedy decoding would give it. ``rate`` [layers] are
    the mean rates of the written tokens.
    """

    loss: torch.Tensor
    value_loss: torch.Tensor
    exact: torch.Tensor
    rate: torch.Tensor


class Validation(NamedTuple):
    """The scores of held-out episodes after ``step`` steps; the losses are in nats a token.

    ``exact`` is the share of the answers with a value in which all tokens of the value were right.
    """

    step: int
    loss: float
    value_loss: float
    exact: float


class Passes(NamedTuple):
    """The pass that writes a batch, the one that asks, and the last hidden states [B, T, H] of the latter."""

    writing: MemoryPass
    asking: MemoryPass
    hidden: torch.Tensor


class HiddenInputs(NamedTuple):
    """The inputs of every attention layer, and the last hidden states, [B, T, H] each."""

    inputs: list[torch.Tensor]
    last: torch.Tensor


def both_passes(
    model: PreTrainedModel,
    attached: AttachedMemory,
    memory: MemoryModule,
    batch: Batch,
) -> Passes:
    """Write what is told into empty states, then ask the questions, which read and in some episodes write."""
    states = list(memory.fresh_states(len(batch.written)))
    writing = MemoryPass(states, batch.written != NOT_WRITTEN, batch.written)
    with attached.running(writing):
        run_base(model, batch.told)
    asking = MemoryPass(list(writing.states), batch.asked_written != NOT_WRITTEN, batch.asked_written)
    with attached.running(asking):
        hidden_BTH = run_base(model, batch.asked)
    return Passes(writing, asking, hidden_BTH)


def run_base(model: PreTrainedModel, rows: Rows) -> torch.Tensor:
    """Run the base over rows of conversations and return the last hidden states [B, T, H]."""
    output = cast("Any", model.base_model)(
        input_ids=rows.ids,
        position_ids=rows.positions,
        attention_mask=rows.mask.to(model.dtype),
        use_cache=False,
    )
    return cast("torch.Tensor", output.last_hidden_state)


def recall(
    model: PreTrainedModel,
    attached: AttachedMemory,
    memory: MemoryModule,
    batch: Batch,
) -> Recall:
    """Run both passes and score the answers; differentiable in the memory's parameters."""
    writing, _, hidden_BTH = both_passes(model, attached, memory, batch)
    rate = torch.stack([_mean_rate(passed.rate, writing.writes) for passed in writing.passed.values()])
    return _scored(model, hidden_BTH, batch, rate)


@torch.no_grad()
def hidden_inputs(model: PreTrainedModel, attention: Sequence[AttentionLayer], rows: Rows) -> HiddenInputs:
    """Run the base without a memory and return the inputs of these attention layers."""
    inputs: list[torch.Tensor] = []

    def record(_: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        inputs.append(given_hidden(args, options))

    hooks = [
        model.get_submodule(layer.name).register_forward_pre_hook(record, with_kwargs=True)
        for layer in attention
    ]
    try:
        return HiddenInputs(inputs, run_base(model, rows))
    finally:
        for hook in hooks:
            hook.remove()


def _scored(model: PreTrainedModel, hidden_BTH: torch.Tensor, batch: Batch, rate: torch.Tensor) -> Recall:
    # The logits of a token are at the position before it.
    logits = cast("Any", model.get_output_embeddings())(hidden_BTH[batch.rows, batch.positions - 1]).float()
    wanted = batch.asked.ids[batch.rows, batch.positions]
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    is_value = batch.weights == VALUE_WEIGHT
    wrong = (logits.argmax(-1) != wanted) & is_value
    answers = batch.groups[is_value].unique()
    wrongs = torch.zeros(int(batch.groups.max()) + 1).index_add(0, batch.groups, wrong.float())
    return Recall(
        (losses * batch.weights).sum() / batch.weights.sum(),
        losses[is_value].mean(),
        wrongs[answers] == 0,
        rate,
    )


def _mean_rate(rate_BNTR: torch.Tensor | None, written_BT: torch.Tensor) -> torch.Tensor:
    assert rate_BNTR is not None, "the pass wrote"
    if rate_BNTR.shape[2] != written_BT.shape[1]:  # one rate for each message
        return rate_BNTR.mean()
    kept = rate_BNTR * written_BT[:, None, :, None]
    return kept.sum() / (written_BT.sum() * rate_BNTR.shape[1] * rate_BNTR.shape[3])

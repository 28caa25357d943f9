# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg is untyped.
"""Solves for the initial parameters of a gated memory module, from stored hidden inputs of the base.

The method is that of ``probe.py`` with changes that proved necessary in experiments. Values are regressed on
token embeddings, of all told tokens, so that they generalise to words without an episode. Keys also use the
inputs around the token. Keys and queries have a strong ridge penalty, without which they overfit to the
episodes. What is read is added to the last hidden state. Each layer stores some of the directions of the
output embeddings, all layers together the leading ones, and the last row of a value is 1 for every token, so
that reading it says how much was told.

Shape suffixes: L = layers with a memory, T = told tokens, P = pairs of a told and a recalled token, or scored
tokens, A = tokens of answers, U = states of all layers, H = hidden width, R = rank, V = distinct tokens,
W = rows of all states of a layer, X = any width.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from examples.memory_module.answer_learning import read_back
from examples.memory_module.probe import (
    Directions,
    canonical,
    embedding_directions,
    output_embeddings,
    rate_weights,
    regression,
    value_weights,
    without_mean_response,
)
from examples.memory_module.stored_inputs import StoredInputs
from populace.actors.errors import InvalidRequest
from populace.adapters.memory.module import MemoryModule

KEY_RIDGE = 0.2
"""The ridge penalty of keys and queries, relative to the mean variance of their inputs."""

RATE_AT_VALUES = 0.8
"""The write rate at tokens of values. As nothing decays, a high rate does not weaken other facts."""

HEAD_LOGIT = 2.5
"""The head's gate is regressed to this logit at value tokens, and to its negative at other tokens."""

HEAD_RIDGE = 0.05
"""The ridge penalty of that regression, relative to the mean variance of its inputs."""

GAINS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""The strengths of the head's output among which the best is chosen."""

SAMPLE = 64
"""The strength is chosen on about this many episodes, spread evenly over their lengths."""

ELSEWHERE_SHARE = 0.15
"""This share of the told tokens are examples of tokens that are not of values, for the rates."""


def start_gated(
    model: PreTrainedModel,
    memory: MemoryModule,
    episodes: Sequence[StoredInputs],
    *,
    seed: int,
    progress: Callable[[float], None],
) -> None:
    """Solve for values, keys, queries, rates and the answer head in place.

    ``progress`` is called with the share of the layers that is done. Raises ``InvalidRequest`` if no episode
    has an answer with the tokens of a told value.
    """
    layers, rank, states = len(memory.layers), memory.shape.rank, memory.shape.states
    generator = torch.Generator().manual_seed(seed)
    linked = [episode for episode in episodes if episode.links]
    if not linked:
        raise InvalidRequest(
            "No episode has an answer with a value that was told, from which a module could be solved for.",
            "episodes",
        )
    ids_T = torch.cat([episode.ids for episode in episodes])
    codes = embedding_directions(model, ids_T, layers * states * (rank - 1))
    embedded_VH, written_VH = _vocabulary(episodes), output_embeddings(model)[ids_T.unique()] - codes.mean
    elsewhere = [torch.rand(len(episode.ids), generator=generator) < ELSEWHERE_SHARE for episode in episodes]
    with torch.no_grad():
        for number in range(layers):
            layer = memory.gated_layer(number)
            told_PX, asked_PH = _pairs(linked, number)
            other_TX = torch.cat(
                [episode.keyed(number)[chosen] for episode, chosen in zip(episodes, elsewhere, strict=True)]
            ).float()
            parts: list[torch.Tensor] = []
            for state in range(states):
                directions, lengths = codes.of_layer(number * states + state, rank - 1, layers * states)
                parts.append(functional.pad(written_VH @ directions.T / lengths, (0, 1), value=1.0))
            layer.value.copy_(value_weights(embedded_VH, torch.cat(parts, dim=1)))
            key_WX, query_WH = canonical(told_PX, asked_PH, states * rank, ridge=KEY_RIDGE)
            # The canonical directions are dealt out, so that each state has some of the leading ones.
            order_W = torch.arange(states * rank).view(rank, states).T.flatten()
            key_RX, query_RH = key_WX[order_W], query_WH[order_W]
            keys = without_mean_response(key_RX, told_PX).chunk(4, dim=-1)
            key_weights = (layer.key, layer.key_before, layer.key_after, layer.key_message)
            for weight, solved in zip(key_weights, keys, strict=True):
                weight.copy_(solved)
            layer.query.copy_(without_mean_response(query_RH, asked_PH))
            layer.query_told.copy_(layer.query)
            if memory.shape.writes == "message":
                layer.rate_bias.fill_(math.log(RATE_AT_VALUES / (1 - RATE_AT_VALUES)))
            else:
                rate_X, bias = rate_weights(told_PX, other_TX, at_values=RATE_AT_VALUES)
                weights = (layer.rate, layer.rate_before, layer.rate_after, layer.rate_message)
                for weight, solved in zip(weights, rate_X.chunk(4), strict=True):
                    weight.copy_(solved.expand_as(weight))
                layer.rate_bias.fill_(bias)
            progress((number + 1) / layers)
    _solve_head(model, memory, codes, episodes, generator)


def _vocabulary(episodes: Sequence[StoredInputs]) -> torch.Tensor:
    """Return the inputs [V, H] of the base's first attention layer for the told tokens, by token id."""
    inputs = {
        int(token): episode.embedded[place] for episode in episodes for place, token in enumerate(episode.ids)
    }
    return torch.stack([inputs[token] for token in sorted(inputs)]).float()


def _pairs(episodes: Sequence[StoredInputs], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inputs of keys [P, 4H] where values were told, and of queries [P, H] where recalled."""
    told: list[torch.Tensor] = []
    asked: list[torch.Tensor] = []
    for episode in episodes:
        told.append(episode.keyed(number)[[place for place, _ in episode.links]])
        asked.append(episode.asked[number][[place for _, place in episode.links]])
    return torch.cat(told).float(), torch.cat(asked).float()


@torch.no_grad()
def _solve_head(
    model: PreTrainedModel,
    memory: MemoryModule,
    codes: Directions,
    episodes: Sequence[StoredInputs],
    generator: torch.Generator,
) -> None:
    """Solve for the answer head in place.

    Its gate is a regression. What is read is added along the directions that the values store, with the
    strength of ``GAINS`` that has the lowest loss. The layer that mixes the inputs is random, scaled for
    inputs of standard deviation 1; its output weights stay zero.
    """
    head = memory.answer_head
    assert head is not None
    rank, states = memory.shape.rank, memory.shape.states
    units = len(memory.layers) * states
    last_AH = torch.cat([episode.last for episode in episodes]).float()
    is_value_A = torch.cat([episode.is_value for episode in episodes])
    weight_H, bias = regression(last_AH, (is_value_A.float() * 2 - 1) * HEAD_LOGIT, ridge=HEAD_RIDGE)
    head.repeats.weight[0, : len(weight_H)] = weight_H
    head.repeats.bias.fill_(bias)

    linked = [episode for episode in episodes if episode.links]
    sample = linked[:: max(1, len(linked) // SAMPLE)]
    read_ALR = read_back(
        memory, sample, [torch.arange(len(episode.targets)) for episode in sample], lambda inputs: inputs
    )
    last_AH = torch.cat([episode.last for episode in sample]).float()
    mixed_AX = torch.cat(
        (last_AH, read_ALR.flatten(-2), read_ALR[..., : memory.shape.width].norm(dim=-1)), dim=-1
    )
    deviation_X = mixed_AX.std(0).clamp(min=1e-3)
    weight_HX = torch.randn(head.mixed.weight.shape, generator=generator) / mixed_AX.shape[-1] ** 0.5
    head.mixed.weight.copy_(weight_HX / deviation_X)
    head.mixed.bias.copy_(-head.mixed.weight @ mixed_AX.mean(0))

    embeddings_VH = output_embeddings(model)
    is_value_A = torch.cat([episode.is_value for episode in sample])
    read_PLR, last_PH = read_ALR[is_value_A], last_AH[is_value_A]
    targets_P = torch.cat([episode.targets for episode in sample])[is_value_A]
    output = torch.zeros(last_AH.shape[-1], units, rank)
    values_PUR = read_PLR[..., : memory.shape.width].reshape(len(read_PLR), units, rank)
    for unit, read_PR in enumerate(values_PUR[..., :-1].unbind(1)):
        directions, lengths = codes.of_layer(unit, rank - 1, units)
        told_PR = (embeddings_VH[targets_P] - codes.mean) @ directions.T / lengths
        both = torch.stack((read_PR.flatten(), told_PR.flatten()))
        agreement = torch.corrcoef(both)[0, 1].nan_to_num(0.0).clamp(min=0.02)
        output[:, unit, :-1] = (directions * (agreement / read_PR.std().clamp(min=1e-6))).T
    output *= float(codes.lengths.mean())
    losses: list[tuple[float, float]] = []
    for gain in GAINS:
        head.repeated.weight.copy_((gain * output).flatten(1))
        hidden_PH = last_PH + head(last_PH, read_PLR)
        losses.append((float(functional.cross_entropy(hidden_PH @ embeddings_VH.T, targets_P)), gain))
    head.repeated.weight.copy_((min(losses)[1] * output).flatten(1))

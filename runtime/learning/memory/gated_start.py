# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg is untyped.
"""The first parameters of a gated memory module, solved for from stored inputs of the base.

As in ``probe.py``, with what trials showed to matter: values are regressed on every told token and not on
those of values alone, so that words that training never saw are kept as well; keys and queries take a
strong ridge, or they learn the episodes by heart; and what is read goes to the last hidden state, not
through the layers. Each layer has a part of the directions of the output embeddings, together the
leading ones.

Shape suffixes: L = layers with a memory, T = told tokens, P = pairs of a told and a recalled token,
H = hidden width, R = rank.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from populace.actors.errors import InvalidRequest
from populace.adapters.memory.module import MemoryModule
from populace.learning.memory.probe import RATE_ELSEWHERE_LOGIT, blind_to_the_mean, canonical, rate_weights
from populace.learning.memory.stored_inputs import StoredInputs

VALUE_RIDGE = 1e-2
KEY_RIDGE = 0.2
RATE_AT_VALUES = 0.8
"""Without decay a strong write costs the other facts nothing."""

PAIR_WEIGHT = 2.0
"""Of a value's token in the regression of values, against the root of how often another token is told."""

HEAD_LOGIT = 2.5
HEAD_RIDGE = 0.05
GAINS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

ELSEWHERE_SHARE = 0.15


class _Codes(NamedTuple):
    """What a token should be written as: directions of the output embeddings [L x R, H] and their lengths.

    ``centred`` are the embeddings [V, H] less the mean of those that were told.
    """

    directions: torch.Tensor
    lengths: torch.Tensor
    centred: torch.Tensor

    def of_layer(self, layer: int, rank: int, layers: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.arange(rank) * layers + layer
        return self.directions[chosen], self.lengths[chosen]


def start_gated(
    model: PreTrainedModel,
    memory: MemoryModule,
    episodes: Sequence[StoredInputs],
    *,
    seed: int,
    progress: Callable[[float], None],
) -> None:
    """Solve for values, keys, queries, rates and the recall head in place, for one state a layer.

    Raises ``InvalidRequest`` if no value of the episodes was told in the words in which it is asked for.
    """
    layers, rank = len(memory.layers), memory.shape.rank
    generator = torch.Generator().manual_seed(seed)
    ids_T = torch.cat([one.told_ids for one in episodes])
    told_values = [one.told_ids[[told for told, _ in one.links]] for one in episodes if one.links]
    pairs_P = torch.cat(told_values) if told_values else ids_T[:0]
    if not len(pairs_P):
        raise InvalidRequest("No episode has a value that was told: there is nothing to probe for.", "start")
    codes = _codes(model, ids_T, layers * rank)
    often_V = torch.bincount(ids_T, minlength=len(codes.centred)).float()
    weights_T = often_V[ids_T].rsqrt()
    elsewhere_T = torch.rand(len(ids_T), generator=generator) < ELSEWHERE_SHARE
    with torch.no_grad():
        for number in range(layers):
            layer = memory.layer(number)
            told_TH = torch.cat([one.told[number] for one in episodes]).float()
            told_PH, asked_PH = _pairs(episodes, number)
            directions, lengths = codes.of_layer(number, rank, layers)
            inputs = torch.cat((told_TH, told_PH))
            wanted = codes.centred[torch.cat((ids_T, pairs_P))] @ directions.T / lengths
            weighed = torch.cat((weights_T, torch.full((len(pairs_P),), PAIR_WEIGHT))).unsqueeze(-1)
            layer.value.copy_(_ridge(inputs, wanted, weighed))
            key, query = canonical(told_PH, asked_PH, rank, ridge=KEY_RIDGE)
            layer.key.copy_(blind_to_the_mean(key, told_PH))
            layer.query.copy_(blind_to_the_mean(query, asked_PH))
            weight, bias = rate_weights(
                told_PH, told_TH[elsewhere_T], at_values=RATE_AT_VALUES, elsewhere=RATE_ELSEWHERE_LOGIT
            )
            layer.rate.copy_(weight.expand(layer.rate.shape[0], -1))
            layer.rate_bias.fill_(bias)
            progress((number + 1) / layers)
    _solve_head(model, memory, codes, episodes)


def _codes(model: PreTrainedModel, ids_T: torch.Tensor, count: int) -> _Codes:
    embeddings_VH = cast("torch.Tensor", cast("Any", model.get_output_embeddings()).weight).detach().float()
    seen = embeddings_VH[ids_T.unique()]
    centred_VH = embeddings_VH - seen.mean(0)
    _, _, found = torch.linalg.svd(seen - seen.mean(0), full_matrices=False)
    directions = torch.zeros(count, found.shape[1])
    directions[: min(count, len(found))] = found[:count]
    lengths = ((seen - seen.mean(0)) @ directions.T).std(0, correction=0).clamp(min=1e-6)
    return _Codes(directions, lengths, centred_VH)


def _pairs(episodes: Sequence[StoredInputs], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    told = [one.told[number][[told for told, _ in one.links]] for one in episodes if one.links]
    asked = [one.asked[number][[asked for _, asked in one.links]] for one in episodes if one.links]
    return torch.cat(told).float(), torch.cat(asked).float()


def _ridge(inputs_TH: torch.Tensor, wanted_TR: torch.Tensor, weights_T1: torch.Tensor) -> torch.Tensor:
    """Return [R, H], weighed by token, without a constant: a value has none."""
    weighed_TH = inputs_TH * weights_T1 / weights_T1.sum()
    covariance = weighed_TH.T @ inputs_TH
    ridge = VALUE_RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    return torch.linalg.solve(covariance + ridge, weighed_TH.T @ wanted_TR).T


@torch.no_grad()
def _solve_head(
    model: PreTrainedModel, memory: MemoryModule, codes: _Codes, episodes: Sequence[StoredInputs]
) -> None:
    """The head's gate by regression; what is read back along its directions, as strongly as serves best."""
    head = memory.recall_head
    assert head is not None
    layers, rank = len(memory.layers), memory.shape.rank
    last_AH = torch.cat([one.last for one in episodes])
    wanted_A = (torch.cat([one.is_value for one in episodes]).float() * 2 - 1) * HEAD_LOGIT
    mean_H, level = last_AH.mean(0), wanted_A.mean()
    centred = last_AH - mean_H
    covariance = centred.T @ centred / len(centred)
    ridge = HEAD_RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    weight_H = torch.linalg.solve(covariance + ridge, centred.T @ (wanted_A - level) / len(centred))
    head.weight.copy_(weight_H)
    head.bias.fill_(float(level - weight_H @ mean_H))

    sample = [one for one in episodes if one.links][:64]
    reads, targets_P, last_PH = _read_back(memory, sample)
    output = torch.zeros(head.output.shape[0], layers, rank)
    for number, read_PR in enumerate(reads):
        directions, lengths = codes.of_layer(number, rank, layers)
        told_PR = codes.centred[targets_P] @ directions.T / lengths
        both = torch.stack((read_PR.flatten(), told_PR.flatten()))
        agreement = torch.corrcoef(both)[0, 1].nan_to_num(0.0).clamp(min=0.02)
        output[:, number] = (directions * (agreement / read_PR.std().clamp(min=1e-6))).T
    output *= float(codes.lengths.mean())
    embeddings_VH = cast("torch.Tensor", cast("Any", model.get_output_embeddings()).weight).float()
    read_PLR = torch.stack(reads, dim=1)
    losses: list[tuple[float, float]] = []
    for gain in GAINS:
        head.output.copy_((gain * output).flatten(1))
        hidden_PH = last_PH + head(last_PH, read_PLR)
        losses.append((float(functional.cross_entropy(hidden_PH @ embeddings_VH.T, targets_P)), gain))
    head.output.copy_((min(losses)[1] * output).flatten(1))


def _read_back(
    memory: MemoryModule, episodes: Sequence[StoredInputs]
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """What each layer reads [P, R] before the values of the episodes, the tokens, and the last states."""
    reads: list[list[torch.Tensor]] = [[] for _ in memory.layers]
    for one in episodes:
        places = [asked for _, asked in one.links]
        writes_1T = torch.ones(1, len(one.told_ids), dtype=torch.bool)
        for number, fresh_1NRR in enumerate(memory.fresh_states(1)):
            layer = memory.layer(number)
            state = layer.write(one.told[number].unsqueeze(0), fresh_1NRR, writes_1T)
            reads[number].append(layer.read(one.asked[number][places].unsqueeze(0), state)[0, 0])
    chosen = [([asked for _, asked in one.links], one) for one in episodes]
    return (
        [torch.cat(parts) for parts in reads],
        torch.cat([one.targets[places] for places, one in chosen]),
        torch.cat([one.last[places] for places, one in chosen]),
    )

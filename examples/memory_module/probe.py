# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg and transformers' models are untyped.
"""Solves for the initial parameters of a memory module with linear probes of the base.

From random projections gradient descent takes hundreds of steps before the memory has any use, and with a
large vocabulary it never had. But the function of each part of a δ-mem is known, and a forward pass of the
base over the training episodes is enough to solve for it:

* value: a ridge regression from the hidden input at a value's token to components of that token's output
  embedding, in other directions for each layer, together the leading ones of the vocabulary;
* key and query: the canonical correlation of the hidden inputs where a value was told and where it is to be
  recalled, whose directions are what both places have in common (Hotelling, 1936);
* rate: a ridge regression to a high rate at tokens of values and a low one elsewhere;
* output projection: the same directions of the embedding, weighted for each layer by how well what it recalls
  agrees with what was told, and scaled by the gain with the lowest loss (``start.py``).

Shape suffixes: P = pairs of a told and a recalled token, H = hidden width, R = rank, V = vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel

from examples.memory_module.encoding import EncodedEpisode, batch_of
from examples.memory_module.recall import hidden_inputs
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.adapters.memory.module import MemoryModule

RIDGE = 1e-2
"""The default ridge penalty, relative to the mean variance of the hidden inputs."""

RATE_AT_VALUES = 0.35
"""The write rate at tokens of values."""

RATE_ELSEWHERE_LOGIT = -6.0
"""The logit of the write rate at other tokens: a rate of 0.25 %."""

ELSEWHERE_SHARE = 0.25
"""This share of the other written tokens are examples of tokens with a low rate."""


class Pairs(NamedTuple):
    """Hidden inputs by layer, [P, H] where values were told and where they are recalled.

    ``elsewhere`` has those of a sample of other written tokens, ``tokens`` [P] the values' token ids.
    """

    told: list[torch.Tensor]
    recalled: list[torch.Tensor]
    elsewhere: list[torch.Tensor]
    tokens: torch.Tensor


def collect_pairs(
    model: PreTrainedModel,
    attention: Sequence[AttentionLayer],
    batches: Iterable[Sequence[EncodedEpisode]],
    *,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Pairs:
    """Run the base without a memory over episodes; ``progress`` is called after each batch."""
    generator = torch.Generator().manual_seed(seed)
    told: list[list[torch.Tensor]] = [[] for _ in attention]
    recalled: list[list[torch.Tensor]] = [[] for _ in attention]
    elsewhere: list[list[torch.Tensor]] = [[] for _ in attention]
    tokens: list[int] = []
    for episodes in batches:
        batch = batch_of(episodes)
        links = [(row, link) for row, episode in enumerate(episodes) for link in episode.links]
        is_other = batch.written != NOT_WRITTEN
        for row, link in links:
            is_other[row, link.told] = False
        chosen = torch.rand(is_other.shape, generator=generator) < ELSEWHERE_SHARE
        rows = [row for row, _ in links]
        at_told = (rows, [link.told for _, link in links])
        at_recalled = (rows, [link.recalled for _, link in links])
        for parts, places, hidden in (
            (told, at_told, hidden_inputs(model, attention, batch.told).inputs),
            (recalled, at_recalled, hidden_inputs(model, attention, batch.asked).inputs),
        ):
            for layer, hidden_BTH in enumerate(hidden):
                parts[layer].append(hidden_BTH[places].float())
                if parts is told:
                    elsewhere[layer].append(hidden_BTH[is_other & chosen].float())
        tokens += [int(batch.told.ids[row, link.told]) for row, link in links]
        progress()
    return Pairs(
        [torch.cat(parts) for parts in told],
        [torch.cat(parts) for parts in recalled],
        [torch.cat(parts) for parts in elsewhere],
        torch.tensor(tokens),
    )


class Directions(NamedTuple):
    """The leading principal directions [layers x R, H] of the output embeddings of the values' tokens.

    ``lengths`` [layers x R] are the standard deviations along them, and ``mean`` [H] is the mean embedding.
    """

    directions: torch.Tensor
    lengths: torch.Tensor
    mean: torch.Tensor

    def of_layer(self, layer: int, rank: int, layers: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the directions and lengths of a layer; each layer has some leading and some later ones."""
        chosen = torch.arange(rank) * layers + layer
        return self.directions[chosen], self.lengths[chosen]


def embedding_directions(model: PreTrainedModel, tokens: torch.Tensor, count: int) -> Directions:
    """Return the ``count`` leading directions of the output embeddings of these tokens."""
    embeddings_VH = output_embeddings(model)[tokens.unique()]
    mean_H = embeddings_VH.mean(0)
    _, _, directions = torch.linalg.svd(embeddings_VH - mean_H, full_matrices=False)
    leading = directions[:count]
    # With few values, or a base narrower than all states together, the remaining directions are zero: the
    # rows of the states for them are left to gradient descent.
    directions = torch.zeros(count, leading.shape[1])
    directions[: len(leading)] = leading
    lengths = ((embeddings_VH - mean_H) @ directions.T).std(0, correction=0)
    return Directions(directions, lengths.clamp(min=1e-6), mean_H)


def probe_module(model: PreTrainedModel, memory: MemoryModule, pairs: Pairs) -> Directions:
    """Solve for values, keys, queries and rates in place, and set the output projections to zero.

    The module must have one state for each layer. Returns the directions in which its values are stored.
    """
    layers, rank = len(memory.layers), memory.shape.rank
    directions = embedding_directions(model, pairs.tokens, layers * rank)
    embeddings_PH = output_embeddings(model)[pairs.tokens] - directions.mean
    with torch.no_grad():
        for number in range(layers):
            layer = memory.layer(number)
            told, recalled = pairs.told[number], pairs.recalled[number]
            wanted, lengths = directions.of_layer(number, rank, layers)
            layer.value.copy_(value_weights(told, embeddings_PH @ wanted.T / lengths))
            key, query = canonical(told, recalled, rank)
            layer.key.copy_(without_mean_response(key, told))
            layer.query.copy_(without_mean_response(query, recalled))
            weight, bias = rate_weights(told, pairs.elsewhere[number])
            layer.rate.copy_(weight.expand(rank, -1))
            layer.rate_bias.fill_(bias)
            for delta in (layer.delta_query, layer.delta_output):
                if delta is not None:
                    delta.zero_()
    return directions


def set_outputs(memory: MemoryModule, directions: Directions, agreement: torch.Tensor, gain: float) -> None:
    """Set the output projections to add what each layer recalls along its directions.

    ``agreement`` [layers] weighs the layers, and ``gain`` all of them.
    """
    layers, shape = len(memory.layers), memory.shape
    with torch.no_grad():
        for number in range(layers):
            delta = memory.layer(number).delta_output
            if delta is not None:
                wanted, lengths = directions.of_layer(number, shape.rank, layers)
                scale = gain * float(agreement[number]) * shape.rank / shape.alpha
                delta.copy_((wanted * lengths[:, None]).T * scale)


def agreement_of(
    model: PreTrainedModel, directions: Directions, read: Sequence[torch.Tensor], tokens: torch.Tensor
) -> torch.Tensor:
    """Return for each layer how well what it read [P, R] agrees with what was told.

    It is the squared correlation of both, divided by the standard deviation of what was read.
    """
    embeddings_PH = output_embeddings(model)[tokens] - directions.mean
    weights: list[torch.Tensor] = []
    for number, read_PR in enumerate(read):
        wanted, lengths = directions.of_layer(number, read_PR.shape[1], len(read))
        told_PR = embeddings_PH @ wanted.T / lengths
        both = torch.stack((read_PR.flatten(), told_PR.flatten()))
        correlation = torch.corrcoef(both)[0, 1].nan_to_num(0.0).clamp(min=0.0)
        weights.append(correlation**2 / read_PR.std().clamp(min=1e-6))
    return torch.stack(weights)


def output_embeddings(model: PreTrainedModel) -> torch.Tensor:
    """Return the output embeddings [V, H] in float32."""
    return cast("torch.Tensor", cast("Any", model.get_output_embeddings()).weight).detach().float()


def value_weights(inputs_PH: torch.Tensor, targets_PR: torch.Tensor) -> torch.Tensor:
    """Return the ridge regression [R, H] from inputs to targets, without a bias, as values have none."""
    covariance = inputs_PH.T @ inputs_PH / len(inputs_PH)
    return torch.linalg.solve(_ridged(covariance), inputs_PH.T @ targets_PR / len(inputs_PH)).T


def canonical(
    told_PH: torch.Tensor, recalled_PH: torch.Tensor, rank: int, *, ridge: float = RIDGE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return projections [R, H] of both inputs onto their leading canonical directions (Hotelling, 1936)."""
    told_PH, recalled_PH = told_PH - told_PH.mean(0), recalled_PH - recalled_PH.mean(0)
    count = len(told_PH)
    told_root = _inverse_root(told_PH.T @ told_PH / count, ridge)
    recalled_root = _inverse_root(recalled_PH.T @ recalled_PH / count, ridge)
    left, _, right = torch.linalg.svd(told_root @ (told_PH.T @ recalled_PH / count) @ recalled_root)
    return left[:, :rank].T @ told_root, right[:rank] @ recalled_root


def without_mean_response(weight_RH: torch.Tensor, inputs_PH: torch.Tensor) -> torch.Tensor:
    """Return the projection changed so that it maps the mean input to 0.

    Keys and queries have no bias, and the mean input would dominate their directions.
    """
    mean_H = inputs_PH.mean(0)
    return weight_RH - torch.outer(weight_RH @ mean_H, mean_H) / (mean_H @ mean_H)


def rate_weights(
    values_PH: torch.Tensor,
    elsewhere_PH: torch.Tensor,
    *,
    at_values: float = RATE_AT_VALUES,
    elsewhere: float = RATE_ELSEWHERE_LOGIT,
) -> tuple[torch.Tensor, float]:
    """Return the weight [H] and bias of the rate's logit, by ridge regression.

    The targets are the rate ``at_values`` at tokens of values, and the logit ``elsewhere`` at other tokens.
    """
    inputs = torch.cat((values_PH, elsewhere_PH))
    logit = math.log(at_values / (1 - at_values))
    wanted = torch.cat((torch.full((len(values_PH),), logit), torch.full((len(elsewhere_PH),), elsewhere)))
    return regression(inputs, wanted)


def regression(
    inputs_PH: torch.Tensor, wanted_P: torch.Tensor, *, ridge: float = RIDGE
) -> tuple[torch.Tensor, float]:
    """Return the weight [H] and bias of the ridge regression from inputs to the numbers ``wanted_P``."""
    mean_H, level = inputs_PH.mean(0), wanted_P.mean()
    centred = inputs_PH - mean_H
    weight_H = torch.linalg.solve(
        _ridged(centred.T @ centred / len(centred), ridge), centred.T @ (wanted_P - level) / len(centred)
    )
    return weight_H, float(level - weight_H @ mean_H)


def _inverse_root(covariance: torch.Tensor, ridge: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(_ridged(covariance, ridge))
    return vectors @ torch.diag(values.clamp(min=1e-9) ** -0.5) @ vectors.T


def _ridged(covariance: torch.Tensor, ridge: float = RIDGE) -> torch.Tensor:
    return covariance + ridge * covariance.diagonal().mean() * torch.eye(len(covariance))

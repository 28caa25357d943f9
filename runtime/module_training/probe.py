# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg and transformers' models are untyped.
"""The first parameters of a memory module, solved for instead of drawn: linear probes of the base.

From random projections gradient descent takes hundreds of steps to find that remembering is possible at
all, and on a wide vocabulary it did not find it. What the parts of a δ-mem should do is known, though, and
a forward pass of the base over the training episodes is enough to solve for each of them:

* value: a ridge regression from the hidden input at a value's token to a part of that token's output
  embedding, other directions in each layer, together the leading ones of the vocabulary;
* key and query: the canonical correlation of the hidden inputs where a value was told and where it is to
  be recalled, whose directions say what both places have in common (Hotelling, 1936);
* rate: a ridge regression to a high rate at the tokens of values and a low one elsewhere;
* the output projection: the same directions of the embedding back, in each layer as strongly as what it
  recalls agrees with what was told, and all in all as it serves held-out questions best.

Shape suffixes: P = pairs of a told and a recalled token, H = hidden width, R = rank, V = vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel

from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.adapters.memory.module import MemoryModule
from populace.module_training.encoding import EncodedEpisode, batch_of
from populace.module_training.recall import hidden_inputs

RIDGE = 1e-2
"""Of the mean variance of the hidden inputs."""

RATE_AT_VALUES = 0.35
RATE_ELSEWHERE_LOGIT = -6.0
ELSEWHERE_SHARE = 0.25
"""Of the other written tokens, taken as examples of what not to write."""


class Pairs(NamedTuple):
    """Hidden inputs of each layer where values were told, where they are recalled, and elsewhere.

    ``tokens`` are the values' token ids [P].
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
    """Run the base, without a memory, over what is told and what is asked."""
    generator = torch.Generator().manual_seed(seed)
    told: list[list[torch.Tensor]] = [[] for _ in attention]
    recalled: list[list[torch.Tensor]] = [[] for _ in attention]
    elsewhere: list[list[torch.Tensor]] = [[] for _ in attention]
    tokens: list[int] = []
    for episodes in batches:
        batch = batch_of(episodes)
        links = [(row, link) for row, one in enumerate(episodes) for link in one.links]
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
    """The leading directions of the output embeddings [layers x R, H], how long values are in each."""

    directions: torch.Tensor
    lengths: torch.Tensor
    mean: torch.Tensor

    def of_layer(self, layer: int, rank: int, layers: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Every layer takes some of the leading and some of the last ones."""
        chosen = torch.arange(rank) * layers + layer
        return self.directions[chosen], self.lengths[chosen]


def embedding_directions(model: PreTrainedModel, tokens: torch.Tensor, count: int) -> Directions:
    embeddings_VH = output_embeddings(model)[tokens.unique()]
    mean_H = embeddings_VH.mean(0)
    _, _, directions = torch.linalg.svd(embeddings_VH - mean_H, full_matrices=False)
    found = directions[:count]
    # Few values, or a base narrower than all states together: the other rows of the states learn by descent.
    directions = torch.zeros(count, found.shape[1])
    directions[: len(found)] = found
    lengths = ((embeddings_VH - mean_H) @ directions.T).std(0, correction=0)
    return Directions(directions, lengths.clamp(min=1e-6), mean_H)


def probe_module(model: PreTrainedModel, memory: MemoryModule, pairs: Pairs) -> Directions:
    """Solve for value, key, query and rate; the output projections become zero. Returns the directions.

    For modules with one state for each layer.
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
            layer.key.copy_(blind_to_the_mean(key, told))
            layer.query.copy_(blind_to_the_mean(query, recalled))
            weight, bias = rate_weights(told, pairs.elsewhere[number])
            layer.rate.copy_(weight.expand(rank, -1))
            layer.rate_bias.fill_(bias)
            for delta in (layer.delta_query, layer.delta_output):
                if delta is not None:
                    delta.zero_()
    return directions


def set_outputs(memory: MemoryModule, directions: Directions, agreement: torch.Tensor, gain: float) -> None:
    """Give what each layer recalls back along its directions; ``agreement`` weighs the layers."""
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
    """How well what each layer read [P, R] agrees with what was told: correlation squared over its size."""
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
    """The output embeddings [V, H] in float32."""
    return cast("torch.Tensor", cast("Any", model.get_output_embeddings()).weight).detach().float()


def value_weights(inputs_PH: torch.Tensor, targets_PR: torch.Tensor) -> torch.Tensor:
    """Return [R, H] that maps the inputs to the targets, without a constant: a value has none."""
    covariance = inputs_PH.T @ inputs_PH / len(inputs_PH)
    return torch.linalg.solve(_ridged(covariance), inputs_PH.T @ targets_PR / len(inputs_PH)).T


def canonical(
    one_PH: torch.Tensor, other_PH: torch.Tensor, rank: int, *, ridge: float = RIDGE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two [R, H], which find in the one and the other what both have in common."""
    one_PH, other_PH = one_PH - one_PH.mean(0), other_PH - other_PH.mean(0)
    count = len(one_PH)
    one_root = _inverse_root(one_PH.T @ one_PH / count, ridge)
    other_root = _inverse_root(other_PH.T @ other_PH / count, ridge)
    left, _, right = torch.linalg.svd(one_root @ (one_PH.T @ other_PH / count) @ other_root)
    return left[:, :rank].T @ one_root, right[:rank] @ other_root


def blind_to_the_mean(weight_RH: torch.Tensor, inputs_PH: torch.Tensor) -> torch.Tensor:
    """Take the mean input out of a projection that has no bias: else it would decide every direction."""
    mean_H = inputs_PH.mean(0)
    return weight_RH - torch.outer(weight_RH @ mean_H, mean_H) / (mean_H @ mean_H)


def rate_weights(
    values_PH: torch.Tensor,
    elsewhere_PH: torch.Tensor,
    *,
    at_values: float = RATE_AT_VALUES,
    elsewhere: float = RATE_ELSEWHERE_LOGIT,
) -> tuple[torch.Tensor, float]:
    """Return the weight [H] and bias of a rate that is ``at_values`` there, and has that logit elsewhere."""
    inputs = torch.cat((values_PH, elsewhere_PH))
    logit = math.log(at_values / (1 - at_values))
    wanted = torch.cat((torch.full((len(values_PH),), logit), torch.full((len(elsewhere_PH),), elsewhere)))
    return regression(inputs, wanted)


def regression(
    inputs_PH: torch.Tensor, wanted_P: torch.Tensor, *, ridge: float = RIDGE
) -> tuple[torch.Tensor, float]:
    """Return the weight [H] and the constant that predict a number from the inputs."""
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

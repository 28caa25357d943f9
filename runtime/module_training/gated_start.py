# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg is untyped.
"""The first parameters of a gated memory module, solved for from stored inputs of the base.

As in ``probe.py``, with what trials showed to matter: values are regressed on what tells the token itself, of
all that was told, so that words that training never saw are kept as well; keys are of what is around the
token too; keys and queries take a strong ridge, or they learn the episodes by heart; and what is read goes to
the last hidden state, not through the layers. Each layer has a part of the directions of the output
embeddings, together the leading ones, and in its last row a one for every token: what is read of that says
how much was told.

Shape suffixes: L = layers with a memory, T = told tokens, P = pairs of a told and a recalled token,
H = hidden width, R = rank.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from populace.actors.errors import InvalidRequest
from populace.adapters.memory.module import MemoryModule
from populace.module_training.answer_learning import read_back
from populace.module_training.probe import (
    Directions,
    blind_to_the_mean,
    canonical,
    embedding_directions,
    output_embeddings,
    rate_weights,
    regression,
    value_weights,
)
from populace.module_training.stored_inputs import StoredInputs

KEY_RIDGE = 0.2
RATE_AT_VALUES = 0.8
"""Without decay a strong write costs the other facts nothing."""

HEAD_LOGIT = 2.5
HEAD_RIDGE = 0.05
GAINS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

SAMPLE = 64
"""Episodes from which the strength of the head is told, about as many: short ones and long ones."""

ELSEWHERE_SHARE = 0.15


def start_gated(
    model: PreTrainedModel,
    memory: MemoryModule,
    episodes: Sequence[StoredInputs],
    *,
    seed: int,
    progress: Callable[[float], None],
) -> None:
    """Solve for values, keys, queries, rates and the answer head in place.

    Raises ``InvalidRequest`` if no value of the episodes was told in the words in which it is asked for.
    """
    layers, rank, states = len(memory.layers), memory.shape.rank, memory.shape.states
    generator = torch.Generator().manual_seed(seed)
    linked = [one for one in episodes if one.links]
    if not linked:
        raise InvalidRequest(
            "No episode has a value that was told: there is nothing to probe for.", "episodes"
        )
    ids_T = torch.cat([one.ids for one in episodes])
    codes = embedding_directions(model, ids_T, layers * states * (rank - 1))
    embedded_VH, written_VH = _vocabulary(episodes), output_embeddings(model)[ids_T.unique()] - codes.mean
    elsewhere = [torch.rand(len(one.ids), generator=generator) < ELSEWHERE_SHARE for one in episodes]
    with torch.no_grad():
        for number in range(layers):
            layer = memory.gated_layer(number)
            told_PX, asked_PH = _pairs(linked, number)
            other_TX = torch.cat(
                [one.keyed(number)[chosen] for one, chosen in zip(episodes, elsewhere, strict=True)]
            ).float()
            parts: list[torch.Tensor] = []
            for state in range(states):
                directions, lengths = codes.of_layer(number * states + state, rank - 1, layers * states)
                parts.append(functional.pad(written_VH @ directions.T / lengths, (0, 1), value=1.0))
            layer.value.copy_(value_weights(embedded_VH, torch.cat(parts, dim=1)))
            key_WX, query_WH = canonical(told_PX, asked_PH, states * rank, ridge=KEY_RIDGE)
            # Each state has some of the leading directions.
            order_W = torch.arange(states * rank).view(rank, states).T.flatten()
            key_RX, query_RH = key_WX[order_W], query_WH[order_W]
            keys = blind_to_the_mean(key_RX, told_PX).chunk(4, dim=-1)
            key_weights = (layer.key, layer.key_before, layer.key_after, layer.key_message)
            for weight, solved in zip(key_weights, keys, strict=True):
                weight.copy_(solved)
            layer.query.copy_(blind_to_the_mean(query_RH, asked_PH))
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
    """What the base's first attention layer is given [V, H] of each token that was told, by their ids."""
    seen = {int(token): one.embedded[place] for one in episodes for place, token in enumerate(one.ids)}
    return torch.stack([seen[token] for token in sorted(seen)]).float()


def _pairs(episodes: Sequence[StoredInputs], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What keys are of [P, 4H] where values' tokens were told, and inputs [P, H] where they are asked for."""
    told: list[torch.Tensor] = []
    asked: list[torch.Tensor] = []
    for one in episodes:
        told.append(one.keyed(number)[[told for told, _ in one.links]])
        asked.append(one.asked[number][[asked for _, asked in one.links]])
    return torch.cat(told).float(), torch.cat(asked).float()


@torch.no_grad()
def _solve_head(
    model: PreTrainedModel,
    memory: MemoryModule,
    codes: Directions,
    episodes: Sequence[StoredInputs],
    generator: torch.Generator,
) -> None:
    """The head's gate by regression; what is read back along its directions, as strongly as serves best.

    What mixes its inputs is drawn, for inputs of deviation 1, and adds nothing yet.
    """
    head = memory.answer_head
    assert head is not None
    rank, states = memory.shape.rank, memory.shape.states
    units = len(memory.layers) * states
    last_AH = torch.cat([one.last for one in episodes]).float()
    is_value_A = torch.cat([one.is_value for one in episodes])
    weight_H, bias = regression(last_AH, (is_value_A.float() * 2 - 1) * HEAD_LOGIT, ridge=HEAD_RIDGE)
    head.repeats.weight[0, : len(weight_H)] = weight_H
    head.repeats.bias.fill_(bias)

    linked = [one for one in episodes if one.links]
    sample = linked[:: max(1, len(linked) // SAMPLE)]
    read_ALR = read_back(
        memory, sample, [torch.arange(len(one.targets)) for one in sample], lambda inputs: inputs
    )
    last_AH = torch.cat([one.last for one in sample]).float()
    mixed_AX = torch.cat(
        (last_AH, read_ALR.flatten(-2), read_ALR[..., : memory.shape.width].norm(dim=-1)), dim=-1
    )
    deviation_X = mixed_AX.std(0).clamp(min=1e-3)
    weight_HX = torch.randn(head.mixed.weight.shape, generator=generator) / mixed_AX.shape[-1] ** 0.5
    head.mixed.weight.copy_(weight_HX / deviation_X)
    head.mixed.bias.copy_(-head.mixed.weight @ mixed_AX.mean(0))

    embeddings_VH = output_embeddings(model)
    is_value_A = torch.cat([one.is_value for one in sample])
    read_PLR, last_PH = read_ALR[is_value_A], last_AH[is_value_A]
    targets_P = torch.cat([one.targets for one in sample])[is_value_A]
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

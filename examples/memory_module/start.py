"""Solves for the initial parameters of a module without gates, and chooses the gain of its outputs.

The parts are solved for by ``probe.py``; the gain is that with the lowest loss on training episodes.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import torch
from transformers import PreTrainedModel

from examples.memory_module.encoding import EncodedEpisode, batch_of
from examples.memory_module.probe import Directions, agreement_of, collect_pairs, probe_module, set_outputs
from examples.memory_module.recall import both_passes, recall
from populace.actors.errors import InvalidRequest
from populace.adapters.memory.attached import AttachedMemory, MemoryPass
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.module import MemoryModule

GAINS = (64.0, 128.0, 256.0, 512.0, 1024.0)
"""The gains of the output projections among which the best is chosen."""

AGREEMENT_BATCHES = 6
"""Number of batches on which the agreement of each layer is measured."""

GAIN_BATCHES = 2
"""Number of batches on which each gain is tried."""

Progress = Callable[[str, float], None]
"""Called with the name of a phase and the share of it that is done, 0 to 1."""


def start_by_probe(
    model: PreTrainedModel,
    attached: AttachedMemory,
    memory: MemoryModule,
    attention: Sequence[AttentionLayer],
    batches: Sequence[Sequence[EncodedEpisode]],
    *,
    seed: int,
    progress: Progress,
) -> None:
    """Solve for the module's parameters on batches of training episodes, in place.

    Raises ``InvalidRequest`` if no episode has an answer with the tokens of a told value.
    """
    done = 0

    def collected() -> None:
        nonlocal done
        done += 1
        progress("Probing the base", done / len(batches))

    pairs = collect_pairs(model, attention, batches, seed=seed, progress=collected)
    if not len(pairs.tokens):
        raise InvalidRequest(
            "No episode has an answer with a value that was told, from which a module could be solved for.",
            "start",
        )
    directions = probe_module(model, memory, pairs)
    progress("Solving for the outputs", 0.0)
    set_outputs(memory, directions, _agreement(model, attached, memory, directions, batches), 1.0)
    outputs = [memory.layer(number).delta_output for number in range(len(memory.layers))]
    solved = [None if output is None else output.detach().clone() for output in outputs]
    best = (float("inf"), GAINS[0])
    for index, gain in enumerate(GAINS):
        _scale(memory, solved, gain)
        losses = [_value_loss(model, attached, memory, batch) for batch in islice(batches, GAIN_BATCHES)]
        best = min(best, (sum(losses) / len(losses), gain))
        progress("Solving for the outputs", (index + 1) / len(GAINS))
    _scale(memory, solved, best[1])


def _scale(memory: MemoryModule, solved: Iterable[torch.Tensor | None], gain: float) -> None:
    with torch.no_grad():
        for number, output in enumerate(solved):
            target = memory.layer(number).delta_output
            if output is not None and target is not None:
                target.copy_(output * gain)


@torch.no_grad()
def _value_loss(
    model: PreTrainedModel, attached: AttachedMemory, memory: MemoryModule, batch: Sequence[EncodedEpisode]
) -> float:
    return float(recall(model, attached, memory, batch_of(batch)).value_loss)


@torch.no_grad()
def _agreement(
    model: PreTrainedModel,
    attached: AttachedMemory,
    memory: MemoryModule,
    directions: Directions,
    batches: Sequence[Sequence[EncodedEpisode]],
) -> torch.Tensor:
    """Measure for each layer how well what is read for the values agrees with what was told."""
    read: list[list[torch.Tensor]] = [[] for _ in memory.layers]
    tokens: list[int] = []
    for episodes in islice(batches, AGREEMENT_BATCHES):
        batch = batch_of(episodes)
        asking: MemoryPass = both_passes(model, attached, memory, batch).asking
        links = [(row, link) for row, episode in enumerate(episodes) for link in episode.links]
        rows, places = [row for row, _ in links], [link.recalled for _, link in links]
        for number, passed in asking.passed.items():
            read[number].append(passed.read[rows, 0, places])
        tokens += [int(batch.told.ids[row, link.told]) for row, link in links]
    return agreement_of(model, directions, [torch.cat(parts) for parts in read], torch.tensor(tokens))

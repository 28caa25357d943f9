# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' loading and forward functions are untyped.
"""The frozen base in training: one forward pass scores sequences for the adapters of many personal models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.lora.attached import AdapterSpan, AttachedAdapters
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.packed_attention import PACKED


class Reading(NamedTuple):
    """Sequences that are scored with one adapter; ``adapter`` None is the base."""

    adapter: TrainableAdapter | None
    sequences: Sequence[TrainSequence]


class FrozenBase:
    """A loaded base with frozen weights. Not thread-safe.

    The backward pass of a scoring may run before or after the next scoring.
    """

    def __init__(
        self, directory: Path, fingerprint: str, *, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
    ) -> None:
        self.modules: BaseModules = read_base_modules(directory, fingerprint)
        self.fingerprint = fingerprint
        self.dtype = dtype
        loaded = AutoModelForCausalLM.from_pretrained(
            str(directory), dtype=dtype, local_files_only=True, attn_implementation=PACKED
        )
        self.model = cast("PreTrainedModel", cast("Any", loaded).to(device).eval())
        self.model.requires_grad_(False)
        self.context_tokens = int(cast("Any", self.model.config).max_position_embeddings)
        self._attached = AttachedAdapters(self.model, list(self.modules.linears))

    def score(self, readings: Sequence[Reading]) -> list[Scored]:
        """Score all sequences in one forward pass and return one ``Scored`` for each reading, in order.

        The results are differentiable in the adapters' parameters unless autograd is off. Every reading must
        have a scored token. Time and memory grow linearly with the total number of tokens.
        """
        spans: list[AdapterSpan] = []
        ids: list[int] = []
        positions: list[int] = []
        lengths: list[int] = []
        places: list[int] = []
        counts: list[tuple[int, ...]] = []
        for adapter, sequences in readings:
            begin = len(ids)
            counts.append(tuple(len(sequence.scored) for sequence in sequences))
            for sequence in sequences:
                # The logits of a token are at the place of the token before it.
                places += [len(ids) + place - 1 for place in sequence.scored]
                ids += sequence.ids
                positions += range(len(sequence.ids))
                lengths.append(len(sequence.ids))
            spans.append(AdapterSpan(begin, len(ids), adapter))
        device = self.model.device
        with self._attached.running(spans):
            output = cast("Any", self.model)(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([positions], device=device),
                lengths=tuple(lengths),
                logits_to_keep=torch.tensor(places, device=device),
                use_cache=False,
            )
        log_probs_NV = cast("torch.Tensor", output.logits)[0].float().log_softmax(-1)
        targets_N = torch.tensor([ids[place + 1] for place in places], device=device)
        sizes = [sum(count) for count in counts]
        return [
            Scored(rows_NV, targets_of_reading_N, count)
            for rows_NV, targets_of_reading_N, count in zip(
                log_probs_NV.split(sizes), targets_N.split(sizes), counts, strict=True
            )
        ]

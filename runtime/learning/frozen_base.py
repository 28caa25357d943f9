# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' loading and forward functions are untyped.
"""The base as training sees it: frozen, and read by many people's adapters in one pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.lora.attached import AttachedAdapters, Owned
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.packed_attention import PACKED


class Reading(NamedTuple):
    """Sequences for one adapter, None for the base alone."""

    adapter: TrainableAdapter | None
    sequences: Sequence[TrainSequence]


class FrozenBase:
    """One loaded base. Not thread-safe; a pass may be differentiated before the next one or after."""

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
        """Read all sequences in one pass; answers what was scored, reading by reading.

        The results depend on the adapters' parameters by autograd, unless it is off. Every reading has a
        token that is scored. Time and memory go with the number of tokens together.
        """
        owned: list[Owned] = []
        ids: list[int] = []
        positions: list[int] = []
        lengths: list[int] = []
        places: list[int] = []
        counts: list[tuple[int, ...]] = []
        for adapter, sequences in readings:
            begin = len(ids)
            counts.append(tuple(len(one.scored) for one in sequences))
            for one in sequences:
                # The token before it predicts each one.
                places += [len(ids) + place - 1 for place in one.scored]
                ids += one.ids
                positions += range(len(one.ids))
                lengths.append(len(one.ids))
            owned.append(Owned(begin, len(ids), adapter))
        device = self.model.device
        with self._attached.running(owned):
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
            Scored(rows_NV, of_reading_N, count)
            for rows_NV, of_reading_N, count in zip(
                log_probs_NV.split(sizes), targets_N.split(sizes), counts, strict=True
            )
        ]

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PEFT's, transformers' and torch.optim's functions are partly untyped.
"""The other side of ``populace bench training``: PEFT as in its documentation, in a process of its own.

The process is its own because memory is allocated as a process is set up, and shared steps set theirs up.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from populace.learning.methods.objective import TrainSequence
from populace.learning.trainer import keeping_freed_memory
from scripts.bench.training_work import Work, peak, reset_peak

NOT_SCORED = -100
"""The label of tokens that transformers leaves out of a loss."""


class PeftTrained(NamedTuple):
    """The wall and the processor time of a training in seconds, its peak memory beyond that before it, and
    the loss of each step.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    losses: list[float]


class PeftProcess:
    """Trains with PEFT in another process; ``keeps_memory`` sets its allocation up as shared steps do."""

    def __init__(self, base_directory: Path, work: Work, *, keeps_memory: bool) -> None:
        self._work = work
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._pool.submit(_start, base_directory, torch.get_num_threads(), keeps_memory).result()

    def train(self, person: int, folder: Path) -> PeftTrained:
        """Train the adapter in this PEFT directory on the person's sequences, and save it there."""
        return self._pool.submit(_train, self._work, person, folder).result()

    def close(self) -> None:
        """Stop the process."""
        self._pool.shutdown()


class _Process:
    """The state of the process between calls."""

    model: Any = None
    keeps_memory: bool = False


def _start(base_directory: Path, threads: int, keeps_memory: bool) -> None:
    torch.set_num_threads(threads)
    _Process.keeps_memory = keeps_memory
    _Process.model = AutoModelForCausalLM.from_pretrained(
        str(base_directory), dtype=torch.bfloat16, local_files_only=True
    )


def _train(work: Work, person: int, folder: Path) -> PeftTrained:
    before = reset_peak()
    _load(folder)
    began, processor_began = time.perf_counter(), time.process_time()
    with keeping_freed_memory() if _Process.keeps_memory else nullcontext():
        losses = _losses(work, work.of(person))
    seconds, processor_seconds = time.perf_counter() - began, time.process_time() - processor_began
    _Process.model.save_pretrained(str(folder), selected_adapters=["person"])
    return PeftTrained(seconds, processor_seconds, peak() - before, losses)


def _load(folder: Path) -> None:
    model = _Process.model
    if isinstance(model, PeftModel):
        model.delete_adapter("person")
        model.load_adapter(str(folder), adapter_name="person", is_trainable=True)
        model.set_adapter("person")
    else:
        model = PeftModel.from_pretrained(model, str(folder), adapter_name="person", is_trainable=True)
    _Process.model = model.train()


def _losses(work: Work, sequences: Sequence[TrainSequence]) -> list[float]:
    options, model = work.options(), _Process.model
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=options.betas, weight_decay=options.weight_decay)
    batch = _padded(sequences)
    losses: list[float] = []
    for step in range(options.steps):
        loss = cast("torch.Tensor", model(**batch).loss)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, options.clip)
        for group in optimizer.param_groups:
            group["lr"] = options.rate(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    return losses


def _padded(sequences: Sequence[TrainSequence]) -> dict[str, torch.Tensor]:
    longest = max(len(sequence.ids) for sequence in sequences)
    ids, mask, labels = (torch.full((len(sequences), longest), filler) for filler in (0, 0, NOT_SCORED))
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
        for place in sequence.scored:
            labels[row, place] = sequence.ids[place]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}

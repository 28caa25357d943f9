# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PEFT's, transformers' and torch.optim's functions are partly untyped.
"""Times training in shared steps, and one after the other with PEFT, for ``populace bench training``.

Both have the same base and type, sequences, initial weights, optimiser, learning rate and clipping, so that
only their time and memory should differ, and not their losses.
"""

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.packing import unpack_to_peft_directory
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.storage.packed.adapter import PackedAdapter

IDS = (100, 20_000)
"""A half-open range of token ids that are in the vocabulary of every base."""
NOT_SCORED = -100
"""The label of tokens that transformers leaves out of a loss."""


class Work(NamedTuple):
    """The training of each person: ``steps`` of all ``sequences``, the second half of each in the loss."""

    rank: int
    steps: int
    sequences: int
    tokens: tuple[int, int]

    def of(self, person: int) -> list[TrainSequence]:
        """Draw the person's sequences, with lengths from ``tokens[0]`` to ``tokens[1]``."""
        source = random.Random(f"person {person}")  # noqa: S311 - not a secret
        lengths = [source.randint(*self.tokens) for _ in range(self.sequences)]
        return [
            TrainSequence(
                tuple(source.randrange(*IDS) for _ in range(length)),
                (0.0,) * (length // 2) + (1.0,) * (length - length // 2),
            )
            for length in lengths
        ]

    def options(self) -> StepOptions:
        """Return the options of each person's session."""
        return StepOptions(steps=self.steps, learning_rate=1e-3, warm_up=1)

    def tokens_of(self, people: Sequence[int]) -> int:
        """Return the number of tokens in all steps of these people."""
        return self.steps * sum(len(sequence.ids) for person in people for sequence in self.of(person))


class Trained(NamedTuple):
    """The time of a training, its peak memory beyond that before it, and ``losses[person][step]``."""

    seconds: float
    peak_bytes: int
    losses: list[list[float]]


class TrainingTimes:
    """Trains in both ways, with the base loaded once for each."""

    def __init__(self, base_directory: Path, fingerprint: str, work: Work) -> None:
        self._work = work
        self._base = FrozenBase(base_directory, fingerprint)
        plain = AutoModelForCausalLM.from_pretrained(
            str(base_directory), dtype=torch.bfloat16, local_files_only=True
        )
        self._peft: Any = plain

    def shared(self, people: Sequence[int]) -> Trained:
        """Train all people in shared steps."""
        before = _reset_peak()
        adapters = [self._first(person) for person in people]
        began = time.perf_counter()
        sessions = [
            TrainingSession(str(person), adapter, self._work.options())
            for person, adapter in zip(people, adapters, strict=True)
        ]
        objectives = [SupervisedObjective(self._work.of(person)) for person in people]
        losses: list[list[float]] = [[] for _ in people]
        for _ in range(self._work.steps):
            for own_losses, outcome in zip(
                losses, take_step(self._base, list(zip(sessions, objectives, strict=True))), strict=True
            ):
                assert isinstance(outcome, StepReport), outcome
                own_losses.append(outcome.loss)
        return Trained(time.perf_counter() - began, _peak() - before, losses)

    def alone(self, people: Sequence[int]) -> Trained:
        """Train one after the other with PEFT as in its documentation, with padding and labels."""
        before = _reset_peak()
        seconds = 0.0
        losses: list[list[float]] = []
        for person in people:
            with tempfile.TemporaryDirectory(prefix="populace-") as folder:
                packed = self._first(person).pack(self._base.fingerprint, torch.float32)
                unpack_to_peft_directory(PackedAdapter(memoryview(packed)), Path(folder))
                self._load(folder)
            began = time.perf_counter()
            losses.append(self._train_loaded(self._work.of(person)))
            seconds += time.perf_counter() - began
        return Trained(seconds, _peak() - before, losses)

    def _first(self, person: int) -> TrainableAdapter:
        shape = LoraShape(self._work.rank)
        return TrainableAdapter.begin(self._base.model, self._base.modules, shape, "uniform", seed=person)

    def _load(self, folder: str) -> None:
        if isinstance(self._peft, PeftModel):
            self._peft.delete_adapter("person")
            self._peft.load_adapter(folder, adapter_name="person", is_trainable=True)
            self._peft.set_adapter("person")
        else:
            self._peft = PeftModel.from_pretrained(
                self._peft, folder, adapter_name="person", is_trainable=True
            )
        self._peft.train()

    def _train_loaded(self, sequences: list[TrainSequence]) -> list[float]:
        options = self._work.options()
        parameters = [parameter for parameter in self._peft.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, lr=0.0, betas=options.betas, weight_decay=options.weight_decay
        )
        batch = _padded(sequences)
        losses: list[float] = []
        for step in range(options.steps):
            loss = cast("torch.Tensor", self._peft(**batch).loss)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, options.clip)
            for group in optimizer.param_groups:
                group["lr"] = options.rate(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(float(loss.detach()))
        return losses


def _padded(sequences: list[TrainSequence]) -> dict[str, torch.Tensor]:
    longest = max(len(sequence.ids) for sequence in sequences)
    ids, mask, labels = (torch.full((len(sequences), longest), filler) for filler in (0, 0, NOT_SCORED))
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
        for place in sequence.scored:
            labels[row, place] = sequence.ids[place]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _reset_peak() -> int:
    """Reset this process's peak memory to its current memory, and return that in bytes. Only on Linux."""
    Path("/proc/self/clear_refs").write_text("5")
    return _of_status("VmRSS")


def _peak() -> int:
    return _of_status("VmHWM")


def _of_status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/self/status has no {field}, which Linux always writes")

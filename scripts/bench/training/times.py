# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportOptionalMemberAccess=false
# transformers' models are partly untyped.
"""Times training in shared steps, and one after the other with PEFT, for ``populace bench training``.

Both have the same base and type, sequences, initial weights, optimiser, learning rate and clipping, so that
only their time and memory should differ, and not their losses.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.packing import unpack_to_peft_directory
from populace.learning.evaluation import reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepReport, TrainingSession, take_step
from populace.learning.trainer import keeping_freed_memory
from populace.storage.packed.adapter import PackedAdapter
from scripts.bench.training.parts import Part, Peak, matmul_peak, parts_of, products_of
from scripts.bench.training.peft_side import PeftProcess
from scripts.bench.training_work import Trained, Work, peak, reset_peak


class TrainingTimes:
    """Trains in both ways, with the base loaded once for each process. A context manager."""

    def __init__(self, base_directory: Path, fingerprint: str, work: Work) -> None:
        self._work = work
        self._base = FrozenBase(base_directory, fingerprint)
        self._peft = {keeps: PeftProcess(base_directory, work, keeps_memory=keeps) for keeps in (False, True)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._peft.values():
            process.close()

    def shared(self, people: Sequence[int]) -> Trained:
        """Train all people in shared steps."""
        before = reset_peak()
        sessions = self._sessions(people)
        objectives = [SupervisedObjective(self._work.of(person)) for person in people]
        losses: list[list[float]] = [[] for _ in people]
        began, processor_began = time.perf_counter(), time.process_time()
        with keeping_freed_memory():
            for _ in range(self._work.steps):
                for own_losses, outcome in zip(
                    losses, take_step(self._base, list(zip(sessions, objectives, strict=True))), strict=True
                ):
                    assert isinstance(outcome, StepReport), outcome
                    own_losses.append(outcome.loss)
        seconds, processor_seconds = time.perf_counter() - began, time.process_time() - processor_began
        peak_bytes = peak() - before
        held_out = [
            self._held_out(person, session.adapter) for person, session in zip(people, sessions, strict=True)
        ]
        return Trained(seconds, processor_seconds, peak_bytes, losses, held_out)

    def alone(self, people: Sequence[int], *, keeps_memory: bool = False) -> Trained:
        """Train one after the other with PEFT; ``keeps_memory`` as shared steps do."""
        total = Trained(0.0, 0.0, 0, [], [])
        for person in people:
            with tempfile.TemporaryDirectory(prefix="populace-") as name:
                folder = Path(name)
                packed = self._first(person).pack(self._base.fingerprint, torch.float32)
                unpack_to_peft_directory(PackedAdapter(memoryview(packed)), folder)
                trained = self._peft[keeps_memory].train(person, folder)
                adapter = TrainableAdapter.of_revision(
                    folder / "person", self._base.modules, rank_max=self._work.rank
                )
            total = Trained(
                total.seconds + trained.seconds,
                total.processor_seconds + trained.processor_seconds,
                max(total.peak_bytes, trained.peak_bytes),
                [*total.losses, trained.losses],
                [*total.held_out, self._held_out(person, adapter)],
            )
        return total

    def parts(self, people: Sequence[int]) -> list[Part]:
        """Return where the time of one shared step of these people goes."""
        objectives = [SupervisedObjective(self._work.of(person)) for person in people]
        parts = list(zip(self._sessions(people), objectives, strict=True))
        with keeping_freed_memory():
            take_step(self._base, parts)
            return parts_of(lambda: take_step(self._base, parts), self._vocabulary)

    def peaks(self, tokens: int) -> list[Peak]:
        """Measure the processor's products of ``tokens`` rows with the base's matrices, by type."""
        shapes = sorted(set(self._base.modules.linears.values()))
        return [matmul_peak(shapes, tokens, dtype) for dtype in (torch.bfloat16, torch.float32)]

    def base_products(self, people: Sequence[int]) -> float:
        """Return the floating-point operations of the base's own products in one step of these people."""
        sequences = [sequence for person in people for sequence in self._work.of(person)]
        return products_of(
            list(self._base.modules.linears.values()),
            tokens=sum(len(sequence.ids) for sequence in sequences),
            scored=sum(len(sequence.scored) for sequence in sequences),
            vocabulary=self._vocabulary,
        )

    @property
    def _vocabulary(self) -> tuple[int, int]:
        weight: torch.Tensor = self._base.model.get_output_embeddings().weight
        return weight.shape[1], weight.shape[0]

    def _sessions(self, people: Sequence[int]) -> list[TrainingSession]:
        return [TrainingSession(str(person), self._first(person), self._work.options()) for person in people]

    def _first(self, person: int) -> TrainableAdapter:
        shape = LoraShape(self._work.rank)
        return TrainableAdapter.begin(self._base.model, self._base.modules, shape, "uniform", seed=person)

    def _held_out(self, person: int, adapter: TrainableAdapter) -> float:
        losses = reply_losses(self._base, adapter, self._work.held_out(person))
        return sum(losses) / len(losses)

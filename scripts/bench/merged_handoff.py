# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""An adapter in training that is handed to an engine between steps: alone, or merged into its base."""

import shutil
from pathlib import Path

import torch

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from scripts.bench.training_work import Work

WORK = Work(rank=8, steps=1000, sequences=1, tokens=(16, 48))


class Learner:
    """One training session on random tokens, with the base that it trains on."""

    def __init__(
        self, base_directory: Path, fingerprint: str, *, rank: int, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        self._directory = base_directory
        self._base = FrozenBase(base_directory, fingerprint, dtype=dtype)
        adapter = TrainableAdapter.begin(
            self._base.model, self._base.modules, LoraShape(rank), "uniform", seed=0
        )
        self._session = TrainingSession(
            "handoff", adapter, StepOptions(steps=WORK.steps, learning_rate=1e-3, warm_up=0)
        )

    def step(self) -> None:
        """Take one optimiser step, so that the adapter is a new revision."""
        [outcome] = take_step(self._base, [(self._session, SupervisedObjective(WORK.of(0)))])
        assert isinstance(outcome, StepReport), outcome

    def packed(self) -> bytearray:
        """Return the adapter packed as a revision is stored."""
        return self._session.adapter.pack(self._base.fingerprint, self._base.dtype)

    def write_merged(self, directory: Path) -> int:
        """Write a whole model whose weights are W + s B·A, and return the size of its weights in bytes."""
        directory.mkdir()
        state = dict(self._base.model.state_dict())
        with torch.no_grad():
            for name, layer in self._session.adapter.layers.items():
                key = f"{name}.weight"
                change = layer(torch.eye(state[key].shape[1])).T
                state[key] = (state[key].float() + change).to(state[key].dtype)
        self._base.model.save_pretrained(directory, state_dict=state)
        for file in self._directory.iterdir():
            # The tokenizer and configuration are the base's; the configuration in memory has our changes.
            if file.is_file() and file.suffix != ".safetensors":
                shutil.copyfile(file, directory / file.name)
        return sum(file.stat().st_size for file in directory.glob("*.safetensors"))

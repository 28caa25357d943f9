# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""An adapter between two of its steps, to be handed to an engine: as it is, or merged into its base."""

import shutil
from pathlib import Path

import torch

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.bench.training_times import Work
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step

WORK = Work(rank=8, steps=1000, sequences=1, tokens=(16, 48))


class Learner:
    """One person in training on a base; what they learn is noise."""

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
        """Move the adapter: what it was before is another revision."""
        [outcome] = take_step(self._base, [(self._session, SupervisedObjective(WORK.of(0)))])
        assert isinstance(outcome, StepReport), outcome

    def packed(self) -> bytearray:
        """Pack the adapter as a revision."""
        return self._session.adapter.pack(self._base.fingerprint, self._base.dtype)

    def write_merged(self, directory: Path) -> int:
        """Write the base with the adapter in its weights, W + s B·A, as a model of its own.

        Answers the bytes of its weights.
        """
        directory.mkdir()
        state = dict(self._base.model.state_dict())
        with torch.no_grad():
            for name, layer in self._session.adapter.layers.items():
                key = f"{name}.weight"
                change = layer(torch.eye(state[key].shape[1])).T
                state[key] = (state[key].float() + change).to(state[key].dtype)
        self._base.model.save_pretrained(directory, state_dict=state)
        for file in self._directory.iterdir():
            # The rest is the base's: its tokenizer, and a configuration without what is ours in this process.
            if file.is_file() and file.suffix != ".safetensors":
                shutil.copyfile(file, directory / file.name)
        return sum(file.stat().st_size for file in directory.glob("*.safetensors"))

"""The settings of devices: what engines and the trainer compute on, and how much of it they take.

They are part of ``Settings``. Which of them work together is checked when the engines' machines are known:
``cluster/engine_plan.py``.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from populace.policies.card_shares import TrainingDevice
from populace.policies.engine_devices import EngineDtype, Quantization

EngineDevice = Literal["auto", "cpu", "gpu"]


class DeviceSettings(BaseModel):
    """The settings of devices, for ``Settings`` to inherit."""

    engine_device: EngineDevice = "auto"
    """What a replica of vLLM runs on: ``gpu`` waits for a machine that has one, ``auto`` takes GPUs if a
    machine has one when the engines start, and all of them run on CPUs else."""
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs of one machine over which each replica spreads the base."""
    gpu_memory_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the memory of each of its GPUs that a replica takes; None is 0.92, or 0.9 less the trainer's
    share of that GPU."""
    engine_dtype: EngineDtype = "auto"
    """Type that the base computes in; ``auto`` is that of its files, or the next that a GPU has."""
    quantization: Quantization = "none"
    """Whether vLLM rounds a base's weights as it loads them: ``fp8`` halves their memory on a GPU. A base
    whose files are quantised is served as it is, with ``none``."""
    batched_tokens_max: Annotated[int, Field(ge=1)] | None = None
    """Tokens that one step of a vLLM replica computes at most: more of them read prompts faster, and make
    others' next tokens wait longer. None leaves it to vLLM."""
    training_device: TrainingDevice = "auto"
    """What the trainer computes on: ``cuda`` is a GPU of the machine with the store, ``auto`` takes one that
    the engines leave, and the processor if there is none."""
    training_gpu_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of a GPU that the trainer has with ``POPULACE_TRAINING_DEVICE=cuda`` where the engines leave no
    GPU; the replicas of that machine have the rest."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' functions are untyped.
"""Checkpoints of a module's training, each a safetensors file, which cannot hold code.

Its tensors are ``memory.<parameter>``, ``best.<parameter>`` and ``optimizer.<number>.<moment>``; the metadata
has the other fields as JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save

from populace.actors.errors import InvalidRequest
from populace.storage.records.files import write_durably

METADATA_KEY = "populace-training"
MEMORY, BEST, OPTIMIZER = "memory.", "best.", "optimizer."


class Checkpoint(NamedTuple):
    """Everything from which training continues.

    ``fields`` has the values that JSON can hold: options, steps and scores. ``memory`` and ``best`` are the
    current and the best parameters by name, ``optimizer`` is torch's state by the number of the parameter.
    """

    fields: dict[str, Any]
    memory: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    optimizer: Mapping[int, Mapping[str, torch.Tensor]]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file atomically; an earlier checkpoint is kept until the new one is on disk."""
    tensors = {MEMORY + name: tensor for name, tensor in checkpoint.memory.items()}
    tensors |= {BEST + name: tensor for name, tensor in checkpoint.best.items()}
    for number, state in checkpoint.optimizer.items():
        tensors |= {f"{OPTIMIZER}{number}.{name}": tensor for name, tensor in state.items()}
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_durably(path, save(whole, {METADATA_KEY: json.dumps(checkpoint.fields)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises ``InvalidRequest`` for any other file."""
    memory: dict[str, torch.Tensor] = {}
    best: dict[str, torch.Tensor] = {}
    optimizer: dict[int, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            fields = json.loads(file.metadata()[METADATA_KEY])
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                tensor = file.get_tensor(key)
                if key.startswith(OPTIMIZER):
                    number, name = key.removeprefix(OPTIMIZER).split(".", 1)
                    optimizer.setdefault(int(number), {})[name] = tensor
                elif key.startswith(BEST):
                    best[key.removeprefix(BEST)] = tensor
                else:
                    memory[key.removeprefix(MEMORY)] = tensor
    except Exception as error:  # safetensors raises many classes for damaged files
        raise InvalidRequest(
            f"{path} is no checkpoint from which training can continue.", "resume"
        ) from error
    return Checkpoint(fields, memory, best, optimizer)

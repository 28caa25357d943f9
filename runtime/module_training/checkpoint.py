# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' functions are untyped.
"""A training session at rest: one safetensors file, which holds no code and is replaced whole."""

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
    """Everything that training goes on from.

    ``told`` is what JSON can say: options, steps, scores. ``memory`` and ``best`` are parameters by name,
    ``optimizer`` the state that torch keeps for each parameter's number.
    """

    told: dict[str, Any]
    memory: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    optimizer: Mapping[int, Mapping[str, torch.Tensor]]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file; until it is whole the old one stays."""
    tensors = {MEMORY + name: tensor for name, tensor in checkpoint.memory.items()}
    tensors |= {BEST + name: tensor for name, tensor in checkpoint.best.items()}
    for number, state in checkpoint.optimizer.items():
        tensors |= {f"{OPTIMIZER}{number}.{name}": tensor for name, tensor in state.items()}
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_durably(path, save(whole, {METADATA_KEY: json.dumps(checkpoint.told)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises ``InvalidRequest`` for any other file."""
    memory: dict[str, torch.Tensor] = {}
    best: dict[str, torch.Tensor] = {}
    optimizer: dict[int, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()[METADATA_KEY])
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                tensor = file.get_tensor(key)
                if key.startswith(OPTIMIZER):
                    number, name = key.removeprefix(OPTIMIZER).split(".", 1)
                    optimizer.setdefault(int(number), {})[name] = tensor
                elif key.startswith(BEST):
                    best[key.removeprefix(BEST)] = tensor
                else:
                    memory[key.removeprefix(MEMORY)] = tensor
    except Exception as error:  # whatever a damaged file makes safetensors raise
        raise InvalidRequest(f"{path} is no checkpoint that training can go on from.", "resume") from error
    return Checkpoint(told, memory, best, optimizer)

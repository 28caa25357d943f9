# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' and torch.optim's functions are partly untyped.
"""A training session at rest: one safetensors file, which holds no code.

Its tensors are each layer's A and B, what is taken off their product, and the two moments of each; the header
has what JSON can say: options, steps, the layers' scalings, and what the caller adds.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import load, save

from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.session import StepOptions, TrainingSession
from populace.storage.records.errors import RecordInvalid

HEADER = "populace-session"
VERSION = 1
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def pack_session(session: TrainingSession, told: Mapping[str, Any]) -> bytes:
    """Write all that the session goes on from, and ``told``, which JSON must be able to say."""
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in session.adapter.layers.items():
        for side, parameter in (("a", layer.a), ("b", layer.b)):
            tensors[f"{name}.{side}"] = parameter.detach()
            for moment, value in session.optimizer.state.get(parameter, {}).items():
                tensors[f"{name}.{side}.{moment}"] = value
        if layer.offset is not None:
            tensors[f"{name}.offset_a"], tensors[f"{name}.offset_b"] = layer.offset
    header = {
        "version": VERSION,
        "name": session.name,
        "step": session.step,
        "options": asdict(session.options),
        "layers": {name: [one.alpha, one.rank_scaled] for name, one in session.adapter.layers.items()},
        "told": dict(told),
    }
    return save({name: one.contiguous() for name, one in tensors.items()}, {HEADER: json.dumps(header)})


def unpack_session(data: bytes) -> tuple[TrainingSession, dict[str, Any]]:
    """Read a session, and what it was told. Raises ``RecordInvalid`` for anything else."""
    try:
        tensors = load(data)
        header = _header(data)
        layers = {
            name: LoraLayer(
                tensors[f"{name}.a"],
                tensors[f"{name}.b"],
                alpha=alpha,
                rank_scaled=rank_scaled,
                offset=(tensors[f"{name}.offset_a"], tensors[f"{name}.offset_b"])
                if f"{name}.offset_a" in tensors
                else None,
            )
            for name, (alpha, rank_scaled) in header["layers"].items()
        }
        options = header["options"]
        options["betas"] = tuple(options["betas"])
        session = TrainingSession(header["name"], TrainableAdapter(layers), StepOptions(**options))
        session.step = header["step"]
        for name, layer in layers.items():
            for side, parameter in (("a", layer.a), ("b", layer.b)):
                if f"{name}.{side}.step" in tensors:
                    session.optimizer.state[parameter] = {
                        moment: tensors[f"{name}.{side}.{moment}"] for moment in _MOMENTS
                    }
        return session, header["told"]
    except RecordInvalid:
        raise
    except Exception as error:  # whatever a damaged file makes safetensors, json and torch raise
        raise RecordInvalid("training session", f"it is damaged ({type(error).__name__})") from error


def _header(data: bytes) -> dict[str, Any]:
    """Read our part of the header, which safetensors itself reads from files only."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][HEADER])
    if header["version"] != VERSION:
        raise RecordInvalid("training session", f"version {header['version']} is not {VERSION}")
    return header

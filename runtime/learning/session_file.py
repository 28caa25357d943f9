# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' and torch.optim's functions are partly untyped.
"""The file of a training session: safetensors, which cannot hold code.

The tensors are ``<layer>.a`` and ``<layer>.b``, the factors ``<layer>.offset_a`` and ``<layer>.offset_b``
whose product is subtracted, if any, those of a lower revision, ``<layer>.kept_a`` and ``<layer>.kept_b``, and
the AdamW state of a and b. The header has JSON: options, step, the scaling of each layer, and the caller's
own fields under ``told``. Bytes of the caller's may be attached.

A session on a lower revision is of version 2, so that an older release does not go on without that; any other
is of version 1.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import load, save

from populace.adapters.lora.layer import Kept, LoraLayer
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.session import StepOptions, TrainingSession
from populace.storage.records.errors import RecordInvalid

HEADER = "populace-session"
ATTACHED = "attached"
"""The tensor of the attached bytes; the name of a layer's has a dot."""

VERSION = 2
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def pack_session(session: TrainingSession, extra: Mapping[str, Any], attached: bytes = b"") -> bytes:
    """Encode everything from which the session continues, ``extra``, which must be valid JSON, and bytes."""
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in session.adapter.layers.items():
        for side, parameter in (("a", layer.a), ("b", layer.b)):
            tensors[f"{name}.{side}"] = parameter.detach()
            for moment, value in session.optimizer.state.get(parameter, {}).items():
                tensors[f"{name}.{side}.{moment}"] = value
        if layer.offset is not None:
            tensors[f"{name}.offset_a"], tensors[f"{name}.offset_b"] = layer.offset
        if layer.kept is not None:
            tensors[f"{name}.kept_a"], tensors[f"{name}.kept_b"] = layer.kept.a, layer.kept.b
    if attached:
        tensors[ATTACHED] = torch.frombuffer(bytearray(attached), dtype=torch.uint8)
    header = {
        "version": 1 if session.adapter.lower is None else VERSION,
        "name": session.name,
        "step": session.step,
        "options": asdict(session.options),
        "layers": {name: [layer.alpha, layer.rank_scaled] for name, layer in session.adapter.layers.items()},
        "told": dict(extra),
    }
    if session.adapter.lower is not None:
        header["lower"] = session.adapter.lower
        header["kept"] = {
            name: layer.kept.scaling
            for name, layer in session.adapter.layers.items()
            if layer.kept is not None
        }
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return save(on_cpu, {HEADER: json.dumps(header)})


def unpack_session(data: bytes, device: torch.device | str = "cpu") -> tuple[TrainingSession, dict[str, Any]]:
    """Decode a session, to go on on ``device``, and its ``extra`` fields.

    Raises ``RecordInvalid`` for damaged or other data.
    """
    try:
        # The optimiser's count of steps too: its fused form reads that on the device.
        tensors = {name: tensor.to(device) for name, tensor in load(data).items() if name != ATTACHED}
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
                kept=Kept(tensors[f"{name}.kept_a"], tensors[f"{name}.kept_b"], header["kept"][name])
                if f"{name}.kept_a" in tensors
                else None,
            )
            for name, (alpha, rank_scaled) in header["layers"].items()
        }
        options = header["options"]
        options["betas"] = tuple(options["betas"])
        session = TrainingSession(
            header["name"], TrainableAdapter(layers, header.get("lower")), StepOptions(**options)
        )
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
    except Exception as error:  # safetensors, json and torch raise many classes for damaged data
        raise RecordInvalid("training session", f"it is damaged ({type(error).__name__})") from error


def attached_to(data: bytes) -> bytes:
    """Return the attached bytes, empty if there are none. Raises ``RecordInvalid`` for damaged data."""
    try:
        attached = load(data).get(ATTACHED)
    except Exception as error:
        raise RecordInvalid("training session", f"it is damaged ({type(error).__name__})") from error
    return b"" if attached is None else attached.numpy().tobytes()


def _header(data: bytes) -> dict[str, Any]:
    """Parse our entry of the header; safetensors offers that for files only, not for bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][HEADER])
    if header["version"] not in range(1, VERSION + 1):
        raise RecordInvalid("training session", f"version {header['version']} is not 1 to {VERSION}")
    return header

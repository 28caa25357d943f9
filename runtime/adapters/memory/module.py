# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# safetensors' functions are untyped.
"""A memory module: the δ-mem projections of all layers of one base, shared by all who use it.

On disk it is one safetensors file: float32 or bfloat16 tensors ``layers.3.query`` and so on, and in the
metadata the shape and the base's fingerprint. The SHA-256 of the file is its digest, and its identity.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Self, cast

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from populace.actors.errors import MemoryModuleInvalid
from populace.adapters.memory.answer_head import AnswerHead
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gated_layer import GatedLayer
from populace.adapters.memory.gates import Gates
from populace.adapters.memory.header import FORMATS, METADATA_KEY, check_base, told_of
from populace.adapters.memory.layer import LayerWidths, MemoryLayer, MemoryShape
from populace.adapters.memory.state import StateFormat

FILE_BYTES_MAX = 1024**3

STORED_DTYPES = (torch.float32, torch.bfloat16)

STORED = torch.bfloat16
"""What a trained module is stored in: half of the bytes."""

_shapes = TypeAdapter(MemoryShape)


class MemoryModule(torch.nn.Module):
    """One ``MemoryLayer`` for each attention layer of the base that has a memory, in order."""

    def __init__(self, shape: MemoryShape, widths: tuple[LayerWidths, ...], base: str) -> None:
        """All zeros. ``widths`` are of all layers of the base that has the fingerprint ``base``.

        ``gates`` and ``answer_head`` are those of a gated module, else None.
        """
        super().__init__()
        self.shape = shape
        self.base = base
        kind = GatedLayer if shape.gated else MemoryLayer
        self.layers = torch.nn.ModuleList(kind(shape, one) for one in shape.with_memory(widths))
        hidden = widths[-1].hidden if shape.gated else 0
        self.gates = Gates(hidden) if shape.gated else None
        self.answer_head = (
            AnswerHead(hidden, len(self.layers), shape.width, shape.states) if shape.gated else None
        )

    def layer(self, number: int) -> MemoryLayer:
        return cast("MemoryLayer", self.layers[number])

    def gated_layer(self, number: int) -> GatedLayer:
        """The same, of a gated module."""
        return cast("GatedLayer", self.layers[number])

    def state_format(self, digest: str) -> StateFormat:
        """What its states look like; ``digest`` is the module's own."""
        return StateFormat(digest, len(self.layers), self.shape.states, self.shape.rank)

    def fresh_states(self, batch: int) -> torch.Tensor:
        """The states of ``batch`` models that were told nothing: zeros [layers, B, N, R, R]."""
        shape = self.shape
        return torch.zeros(len(self.layers), batch, shape.states, shape.rank, shape.rank)

    def pack(self, dtype: torch.dtype = torch.float32) -> bytes:
        """Encode, rounded to ``dtype``; the same parameters give the same bytes."""
        tensors = {name: tensor.detach().to(dtype).contiguous() for name, tensor in self.state_dict().items()}
        told = {"format": FORMATS[self.shape.gated], "base": self.base, "shape": _told_shape(self.shape)}
        # In one entry: safetensors writes several of them in any order.
        return save(tensors, {METADATA_KEY: json.dumps(told, sort_keys=True)})

    @classmethod
    def unpack(cls, data: bytes, base: str, attention: tuple[AttentionLayer, ...]) -> Self:
        """Decode, to float32 whatever it is stored in, and check against the base's attention layers.

        Raises:
            MemoryModuleInvalid: it is truncated, of another format, or has wrong or infinite values.
            MemoryModuleMismatch: it is for another base.
        """
        told = told_of(data)
        check_base(told, base)
        try:
            shape = _shapes.validate_python(told.get("shape"))
            tensors = load(data)
        except ValidationError as error:
            raise MemoryModuleInvalid("its metadata has no sound shape") from error
        except SafetensorError as error:
            raise MemoryModuleInvalid(f"it is damaged ({error})") from error
        if shape.first_layer >= len(attention):
            raise MemoryModuleInvalid(
                f"its first layer is {shape.first_layer}, the base has {len(attention)}"
            )
        with torch.device("meta"):  # nothing is allocated for a shape that the file only claims
            module = cls(shape, tuple(one.widths for one in attention), base)
        module._fill(tensors)
        return module

    @classmethod
    def read(cls, path: Path, base: str, attention: tuple[AttentionLayer, ...]) -> Self:
        """Read a file. Raises as ``unpack``."""
        return cls.unpack(read_packed(path), base, attention)

    def _fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        own = dict(self.named_parameters())
        if own.keys() != tensors.keys():
            odd = min(own.keys() ^ tensors.keys())
            raise MemoryModuleInvalid(f"the tensor {odd} is {'missing' if odd in own else 'not one of it'}")
        for name, parameter in own.items():
            tensor = tensors[name]
            if tensor.shape != parameter.shape or tensor.dtype not in STORED_DTYPES:
                raise MemoryModuleInvalid(
                    f"{name} should be float32 or bfloat16 {tuple(parameter.shape)} "
                    f"and is {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise MemoryModuleInvalid(f"{name} holds NaN or infinity")
        self.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)


def _told_shape(shape: MemoryShape) -> dict[str, object]:
    """What differs from the published rule is told only where it does: other files are as they were."""
    told: dict[str, object] = asdict(shape)
    published = MemoryShape()
    for name in ("gated", "first_layer", "layer_step"):
        if told[name] == getattr(published, name):
            del told[name]
    return told


def read_packed(path: Path) -> bytes:
    """Read a module's file, to be unpacked. Raises ``MemoryModuleInvalid``."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise MemoryModuleInvalid(f"{path} has more than {FILE_BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise MemoryModuleInvalid(f"{path} cannot be read ({error.strerror})") from error


def digest_of(data: bytes) -> str:
    """The identity of a packed module."""
    return sha256(data).hexdigest()

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# safetensors' functions are untyped.
"""Memory modules: the δ-mem projections of all layers of one base, shared by all its personal models.

A module is stored as one safetensors file, with float32 or bfloat16 tensors such as ``layers.3.query``, and
in the metadata the shape and the base's fingerprint. The SHA-256 of the file is its digest and its identity.
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
from populace.adapters.memory.header import FORMATS, METADATA_KEY, check_base, read_metadata
from populace.adapters.memory.layer import LayerWidths, MemoryLayer, MemoryShape
from populace.adapters.memory.state import StateFormat

FILE_BYTES_MAX = 1024**3

STORED_DTYPES = (torch.float32, torch.bfloat16)

STORED = torch.bfloat16
"""Trained modules are stored in this type, which halves the file."""

_shapes = TypeAdapter(MemoryShape)


class MemoryModule(torch.nn.Module):
    """One ``MemoryLayer`` for each attention layer of the base that has a memory, in order."""

    def __init__(self, shape: MemoryShape, widths: tuple[LayerWidths, ...], base: str) -> None:
        """Make a module of zeros for the base with the fingerprint ``base``.

        ``widths`` has all attention layers of the base. ``gates`` and ``answer_head`` are None unless the
        shape is gated.
        """
        super().__init__()
        self.shape = shape
        self.base = base
        kind = GatedLayer if shape.gated else MemoryLayer
        self.layers = torch.nn.ModuleList(kind(shape, layer) for layer in shape.with_memory(widths))
        hidden = widths[-1].hidden if shape.gated else 0
        self.gates = Gates(hidden) if shape.gated else None
        self.answer_head = (
            AnswerHead(hidden, len(self.layers), shape.width, shape.states) if shape.gated else None
        )

    def layer(self, number: int) -> MemoryLayer:
        """Return the layer of this number among those with a memory."""
        return cast("MemoryLayer", self.layers[number])

    def gated_layer(self, number: int) -> GatedLayer:
        """Return the layer of this number among those with a memory; the module must be gated."""
        return cast("GatedLayer", self.layers[number])

    def input_directions(self, number: int) -> torch.Tensor:
        """Return the rows [K, H] of keys, queries and rates that the layer multiplies its input with."""
        return torch.cat(self.layer(number).input_weights()).detach()

    def gate_directions(self) -> torch.Tensor | None:
        """Return the rows [K, H] that the gates multiply the first layer's input with, if there are gates."""
        if self.gates is None:
            return None
        return torch.stack((self.gates.read_weight, self.gates.write_weight)).detach()

    def state_format(self, digest: str) -> StateFormat:
        """Return the format of the module's states. ``digest`` is that of the module's file."""
        return StateFormat(digest, len(self.layers), self.shape.states, self.shape.rank)

    def fresh_states(self, batch: int) -> torch.Tensor:
        """Return the empty states of ``batch`` personal models: zeros [layers, B, N, R, R]."""
        shape = self.shape
        return torch.zeros(len(self.layers), batch, shape.states, shape.rank, shape.rank)

    def pack(self, dtype: torch.dtype = torch.float32) -> bytes:
        """Encode the module as a file, rounded to ``dtype``; the same parameters give the same bytes."""
        tensors = {name: tensor.detach().to(dtype).contiguous() for name, tensor in self.state_dict().items()}
        metadata = {
            "format": FORMATS[self.shape.gated],
            "base": self.base,
            "shape": _stored_shape(self.shape),
        }
        # One metadata entry, since safetensors writes several in no fixed order.
        return save(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})

    @classmethod
    def unpack(cls, data: bytes, base: str, attention: tuple[AttentionLayer, ...]) -> Self:
        """Decode a file to a module in float32 and check it against the base's attention layers.

        Raises:
            MemoryModuleInvalid: it is truncated, of another format, or has wrong shapes, NaN or infinity.
            MemoryModuleMismatch: it is for another base.
        """
        metadata = read_metadata(data)
        check_base(metadata, base)
        try:
            shape = _shapes.validate_python(metadata.get("shape"))
            tensors = load(data)
        except ValidationError as error:
            raise MemoryModuleInvalid("its metadata has no valid shape") from error
        except SafetensorError as error:
            raise MemoryModuleInvalid(f"it is damaged ({error})") from error
        if shape.first_layer >= len(attention):
            raise MemoryModuleInvalid(
                f"its first layer is {shape.first_layer}, and the base has {len(attention)} attention layers"
            )
        with torch.device("meta"):  # allocates nothing for a shape that the tensors may not have
            module = cls(shape, tuple(layer.widths for layer in attention), base)
        module._fill(tensors)
        return module

    @classmethod
    def read(cls, path: Path, base: str, attention: tuple[AttentionLayer, ...]) -> Self:
        """Read a file of at most ``FILE_BYTES_MAX`` bytes. Raises as ``unpack``."""
        return cls.unpack(read_packed(path), base, attention)

    def _fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        own = dict(self.named_parameters())
        if own.keys() != tensors.keys():
            odd = min(own.keys() ^ tensors.keys())
            raise MemoryModuleInvalid(f"the tensor {odd} is {'missing' if odd in own else 'unexpected'}")
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


def _stored_shape(shape: MemoryShape) -> dict[str, object]:
    """Omit defaults of later fields, so that files without these extensions keep their digests."""
    fields: dict[str, object] = asdict(shape)
    defaults = MemoryShape()
    for name in ("gated", "first_layer", "layer_step"):
        if fields[name] == getattr(defaults, name):
            del fields[name]
    return fields


def read_packed(path: Path) -> bytes:
    """Return the bytes of a module's file, for ``unpack``.

    Raises ``MemoryModuleInvalid`` if it cannot be read or has more than ``FILE_BYTES_MAX`` bytes.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise MemoryModuleInvalid(f"{path} has more than {FILE_BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise MemoryModuleInvalid(f"{path} cannot be read ({error.strerror})") from error


def digest_of(data: bytes) -> str:
    """Return the digest of a packed module: its SHA-256 in hexadecimal."""
    return sha256(data).hexdigest()

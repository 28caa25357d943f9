# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# safetensors' functions are untyped.
"""Memory modules: the δ-mem projections of all layers of one base, shared by all its personal models.

A module is stored as one safetensors file, with float32 or bfloat16 tensors such as ``layers.3.query``, and
in the metadata the shape and the base's fingerprint. The SHA-256 of the file is its digest and its identity.

Two gates decide what is written and when a reply reads.
Unlike the published rule (``layer.py``, ``scan.py``), a gated module reads and writes only where a gate is
open. Both gates are computed in its first layer, before anything is read:

* A **reply** reads the memory if the read gate is open at the last token of its prompt. Then that token and
  the tokens of the reply read, in all layers with a memory. What they read changes the last hidden states
  only (``AnswerHead``), so the keys and values of the base do not depend on the memory. With a closed
  gate every output is the base's.
* A **message** of the person is written if the write gate is open at its last token: all its tokens but that
  one, since a prompt's last token reads and what is written must depend on the text alone. Replies and other
  roles are never written.

An empty memory is never read.

Shape suffixes: H = hidden width.
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
from torch.nn import functional

from populace.actors.errors import MemoryModuleInvalid
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gated_layer import GatedLayer
from populace.adapters.memory.header import FORMATS, METADATA_KEY, check_base, read_metadata
from populace.adapters.memory.layer import LayerWidths, MemoryLayer, MemoryShape
from populace.adapters.memory.state import StateFormat


class Gates(torch.nn.Module):
    """Two linear gates on the input of the first layer with a memory; a gate with a logit above 0 is open."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read_weight = torch.nn.Parameter(torch.zeros(hidden))
        self.read_bias = torch.nn.Parameter(torch.zeros(1))
        self.write_weight = torch.nn.Parameter(torch.zeros(hidden))
        self.write_bias = torch.nn.Parameter(torch.zeros(1))

    def read(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits [...] of the read gate for inputs [..., H]."""
        return hidden.float() @ self.read_weight + self.read_bias

    def write(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits [...] of the write gate for inputs [..., H]."""
        return hidden.float() @ self.write_weight + self.write_bias


class AnswerHead(torch.nn.Module):
    """Adds to the base's last hidden states, just before the output embeddings.

    An addition in an earlier layer would be transformed by all later layers and change the inputs of later
    reads; here every layer of the base computes as without a memory. Each token of an answer either repeats a
    value from the memory or is one of the words around it ("Your cat is called", "You have not told me"). As
    in a pointer-generator network (arXiv 1704.04368) a gate g weighs both::

        z = gelu(W [h; r; n] + b)          r: what the layers read, n: the norm of the values of each layer
        g = sigmoid(w h + u z + c)
        h' = h + g F r + (1 - g) (A z + a)     (F reads only the values of r)

    Shape suffixes: B = batch, T = tokens, H = hidden width and width of z, L = layers, W = what all states of
    a layer read: the values, then one number for each state.
    """

    def __init__(self, hidden: int, layers: int, width: int, states: int) -> None:
        """Make a head of zeros, which adds nothing. ``width`` is the width of a layer's values."""
        super().__init__()
        self.width = width
        self.mixed = torch.nn.Linear(hidden + layers * (width + states + 1), hidden)
        self.repeated = torch.nn.Linear(layers * width, hidden, bias=False)
        self.around = torch.nn.Linear(hidden, hidden)
        self.repeats = torch.nn.Linear(2 * hidden, 1)
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)

    def forward(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> torch.Tensor:
        """Return what to add to the hidden states [B, T, H]."""
        return self.parts(hidden_BTH, read_BTLW)[0]

    def parts(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to add, and the gate's logit [B, T]; above 0 the next token repeats a value."""
        hidden_BTH = hidden_BTH.float()
        values_BTLW = read_BTLW[..., : self.width]
        mixed_BTH = functional.gelu(
            self.mixed(torch.cat((hidden_BTH, read_BTLW.flatten(-2), values_BTLW.norm(dim=-1)), dim=-1))
        )
        opens_BT1 = self.repeats(torch.cat((hidden_BTH, mixed_BTH), dim=-1))
        gate_BT1 = torch.sigmoid(opens_BT1)
        added_BTH = gate_BT1 * self.repeated(values_BTLW.flatten(-2)) + (1 - gate_BT1) * self.around(
            mixed_BTH
        )
        return added_BTH, opens_BT1.squeeze(-1)


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

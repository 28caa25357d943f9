"""Writes a packed adapter as PEFT's ``adapter_model.safetensors``, matrix by matrix and without torch.

The tensors are ordered as safetensors orders them. The metadata is sorted, which safetensors does not do, so
that the same packed adapter always gives the same file.
"""

import json
from collections.abc import Iterator

from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.layout import DType, Factor

_ORDER: dict[DType, int] = {"F32": 0, "BF16": 1, "F16": 2}
"""safetensors writes tensors in this order of their types, and within a type by name."""


class TensorFile:
    """The content of the file. It reads the packed adapter's bytes on demand. ``size`` is in bytes."""

    def __init__(self, adapter: PackedAdapter) -> None:
        self._adapter = adapter
        self._tensors = sorted(
            (
                (tensor_name(factor.module, factor.side), factor, group, index)
                for group in adapter.groups
                for index, (factor, _) in enumerate(group.factors())
            ),
            key=lambda tensor: (_ORDER[tensor[1].dtype], tensor[0]),
        )
        self._header = self._make_header()
        self.size = len(self._header) + sum(group.bytes for group in adapter.groups)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes of the header, then of each tensor."""
        yield self._header
        for _, factor, group, index in self._tensors:
            matrix = self._adapter.group(group).reshape(-1, *group.shape)[index]
            yield (matrix if factor.side == "A" else matrix.T).tobytes()

    def _make_header(self) -> bytes:
        entries: dict[str, object] = {}
        if self._adapter.metadata:
            entries["__metadata__"] = dict(sorted(self._adapter.metadata.items()))
        offset = 0
        for name, factor, group, _ in self._tensors:
            end = offset + group.factor_bytes
            entries[name] = {"dtype": factor.dtype, "shape": _shape(factor), "data_offsets": [offset, end]}
            offset = end
        header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header


def tensor_name(module: str, side: str) -> str:
    """Return PEFT's name for the A or B matrix of a layer."""
    return f"base_model.model.{module}.lora_{side}.weight"


def _shape(factor: Factor) -> list[int]:
    rows, columns = factor.shape
    return [rows, columns] if factor.side == "A" else [columns, rows]

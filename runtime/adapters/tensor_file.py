"""A packed adapter's matrices as PEFT's ``adapter_model.safetensors``, without torch and a matrix at a time.

Written as safetensors itself orders and names them, except that the metadata is sorted, which safetensors
writes in any order: the same packed adapter always gives the same file.
"""

import json
from collections.abc import Iterator

from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.layout import DType, Factor

_ORDER: dict[DType, int] = {"F32": 0, "BF16": 1, "F16": 2}
"""In which safetensors writes tensors, of one type by name."""


class TensorFile:
    """The file, as long as the packed adapter's bytes are there. ``size`` is in bytes."""

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
        """Yield the header and each tensor."""
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
    """The name PEFT gives to a module's A or B matrix."""
    return f"base_model.model.{module}.lora_{side}.weight"


def _shape(factor: Factor) -> list[int]:
    rows, columns = factor.shape
    return [rows, columns] if factor.side == "A" else [columns, rows]

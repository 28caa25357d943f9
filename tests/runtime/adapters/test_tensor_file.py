"""A packed adapter is unpacked without torch, to the bytes that safetensors itself would write."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load, save

from populace.adapters.serving_image import NAMES, matrix_bytes
from populace.adapters.tensor_file import TensorFile, tensor_name
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import Factor, Side

SIDES: tuple[Side, Side] = ("A", "B")
TYPES = (torch.bfloat16, torch.float32, torch.float16)

Tensors = dict[str, torch.Tensor]


def adapter(metadata: dict[str, str]) -> tuple[PackedAdapter, Tensors]:
    """An adapter of modules of several types and shapes, and its tensors as PEFT has them."""
    generator = torch.Generator().manual_seed(0)
    factors: list[Factor] = []
    tensors: Tensors = {}
    matrices: dict[tuple[str, Side], memoryview] = {}
    for number in range(12):
        for side in SIDES:
            module = f"model.layers.{number}.{'qkv'[number % 3]}é_proj"
            shape = (1 + number % 3, 5 if side == "A" else 7)
            matrix = torch.randn(shape, generator=generator).to(TYPES[number % len(TYPES)])
            tensors[tensor_name(module, side)] = matrix if side == "A" else matrix.T.contiguous()
            factors.append(Factor(module, side, shape, NAMES[matrix.dtype], 2.0))
            matrices[module, side] = matrix_bytes(matrix)
    packed = pack_adapter(matrices, factors, base=None, config=b"{}", metadata=metadata)
    return PackedAdapter(memoryview(packed)), tensors


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {'é\x01"\\/\u2028\x7f': "\n"}])
def test_it_is_what_safetensors_writes_of_the_same_tensors(metadata: dict[str, str]) -> None:
    packed, tensors = adapter(metadata)

    file = TensorFile(packed)
    written = b"".join(file.pieces())

    assert written == save(tensors, metadata or None)
    assert file.size == len(written)


def test_more_metadata_is_sorted_so_that_one_adapter_makes_one_file() -> None:
    metadata = {key: key * 3 for key in "qwertyuiop"}
    packed, tensors = adapter(metadata)

    written = b"".join(TensorFile(packed).pieces())

    assert [written.index(f'"{key}":'.encode()) for key in sorted(metadata)] == sorted(
        written.index(f'"{key}":'.encode()) for key in metadata
    )
    assert len(written) == len(save(tensors, metadata))
    for name, tensor in load(written).items():
        assert torch.equal(tensor, tensors[name])


def test_nothing_larger_than_a_matrix_and_the_header_is_in_memory_at_once() -> None:
    packed, tensors = adapter({})

    header, *others = TensorFile(packed).pieces()

    assert len(others) == len(tensors)
    assert max(map(len, others)) == max(tensor.nbytes for tensor in tensors.values())
    assert len(header) == 8 + int.from_bytes(header[:8], "little")


def test_a_gateway_that_exports_does_not_load_torch() -> None:
    program = "import sys, populace.archive.exporting; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

# pyright: reportUnknownVariableType=false
# safetensors' functions are partly untyped.
"""Both forms of the made-up adapter hold the same numbers, and each row compares the two."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from populace.adapters.packing import SIDES
from populace.adapters.serving_image import group_tensor
from populace.adapters.tensor_file import tensor_name
from populace.storage.packed.adapter import PackedAdapter
from scripts.bench.packed import PackedBench, _measure_files, _of_experts
from scripts.bench.report import BenchReport

pytestmark = pytest.mark.engine

SMALL = PackedBench(layers=2, experts=3, rounds=2)
TENSORS = 2 * 2 * (4 + 3 * 3)


def test_the_packed_form_has_the_matrices_of_the_tensors(tmp_path: Path) -> None:
    adapter = _of_experts(tmp_path, SMALL)
    tensors, packed = load_file(adapter.tensors), PackedAdapter.open(adapter.packed)

    seen = 0
    for group in packed.groups:
        for (factor, _), matrix in zip(
            group.factors(), group_tensor(packed, group).view(-1, *group.shape), strict=True
        ):
            tensor = tensors[tensor_name(factor.module, factor.side)]
            assert torch.equal(matrix, tensor if factor.side == "A" else tensor.T)
            seen += 1
    assert seen == len(tensors) == TENSORS
    assert len(packed.groups) == len(SIDES) * 7


def test_each_row_compares_both_forms(tmp_path: Path) -> None:
    result = BenchReport("packed")

    _measure_files(SMALL, _of_experts(tmp_path, SMALL), result)

    assert [row["what"] for row in result.rows] == [
        "objects",
        "file, MB",
        "read, ms",
        "read and checked, ms",
        "build, ms",
    ]
    assert (result.rows[0]["per tensor"], result.rows[0]["packed"]) == (TENSORS, 14)
    assert all(row["ratio"] for row in result.rows)
    assert [aim.name.rsplit(": ")[-1] for aim in result.aims] == ["objects", "read", "build"]

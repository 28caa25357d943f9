"""Each operation of a training step is counted once, as the part of the step that it is of."""

import pytest
import torch

from scripts.bench.training import parts

VOCABULARY = 500
ENGINE = "autograd::engine::evaluate_function: MmBackward0"


@pytest.mark.parametrize(
    ("names", "shapes", "part"),
    [
        (["aten::mm", "aten::linear"], [[90, 30], [30, 60]], parts.FORWARD),
        (["aten::addmm", "aten::linear"], [[60], [90, 30], [30, 60]], parts.FORWARD),
        (["aten::mm", "MmBackward0", ENGINE], [[90, 60], [60, 30]], parts.BACKWARD),
        (["aten::mm", "_WithAdapters"], [[90, 30], [30, 8]], parts.ADAPTERS),
        (["aten::copy_", "_WithAdaptersBackward", ENGINE], [[90, 30]], parts.ADAPTERS),
        (["aten::_scaled_dot_product_flash_attention_for_cpu"], [[4, 3, 9, 8]], parts.ATTENTION),
        (["aten::mm", "aten::linear"], [[45, 30], [30, VOCABULARY]], parts.LOGITS),
        (["aten::_log_softmax"], [[45, VOCABULARY]], parts.LOGITS),
        (["aten::_fused_adamw_", "Optimizer.step#AdamW.step"], [], parts.OPTIMISER),
        (["aten::silu", "aten::silu"], [[90, 60]], parts.REST),
    ],
)
def test_an_operation_is_of_one_part(names: list[str], shapes: list[list[int]], part: str) -> None:
    assert parts.part_of(names, shapes, VOCABULARY) == part


def test_a_step_of_products_alone_is_products_alone() -> None:
    rows, matrix = torch.ones(200, 300), torch.ones(300, 400)

    found = {part.name: part.seconds for part in parts.parts_of(lambda: rows @ matrix, (300, VOCABULARY))}

    assert found[parts.FORWARD] > 0
    assert found[parts.BACKWARD] == found[parts.ADAPTERS] == found[parts.OPTIMISER] == 0


def test_the_operations_of_a_step_are_those_of_both_passes_through_each_matrix() -> None:
    products = parts.products_of([(30, 60), (60, 30)], tokens=10, scored=4, vocabulary=(30, 500))

    assert products == 2 * (10 * 2 * 2 * 30 * 60 + 4 * 2 * 30 * 500)


def test_the_peak_is_named_by_its_type() -> None:
    peak = parts.matmul_peak([(30, 60)], 10, torch.bfloat16)

    assert peak.dtype == "bfloat16"
    assert peak.flops > 0

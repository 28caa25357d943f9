"""Which adapters the study of defaults trains, and what it asks and teaches them."""

import math

import pytest
from defaults.cells import FEW, FULL, PARTS, RULES, Cell, Grid, Part, cells_of, shared
from defaults.tasks import KINDS, Amounts, Item, right_of, split

from populace.adapters.lora.shape import ALPHA
from populace.policies.reply_checks import is_exact

AMOUNTS = Amounts(held_out=64, learned=256, judging=32, taught=1200)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("grid", [FULL, FEW])
def test_no_cell_is_trained_twice(part: Part, grid: Grid) -> None:
    cells = cells_of(part, grid, 5e-4)

    assert len(set(cells)) == len(cells) > 0


def test_all_starts_are_tried_at_small_ranks_and_a_few_above() -> None:
    cells = cells_of("reward", FULL, 5e-4)

    starts = {rank: {cell.start for cell in cells if cell.rank == rank} for rank in FULL.ranks}
    assert starts[1] == starts[4] == {"uniform", "orthogonal-tail", "olora-tail", "milora", "pissa"}
    assert starts[8] == starts[64] == {"uniform", "olora-tail"}
    assert {cell.method for cell in cells} == {"rl"}
    assert len(cells) == (3 * 5 + 4 * 2) * 5


def test_each_rule_has_the_scaling_that_its_name_has_in_plain_lora() -> None:
    scalings = [[rule(rank) / math.sqrt(rank) for rank in (1, 4, 16, 64)] for rule in RULES.values()]

    assert scalings[0] == pytest.approx([8, 4, 2, 1]), "α ∝ √r: α/r = 8/√r"
    assert scalings[1] == pytest.approx([32, 8, 2, 0.5]), "α = 32: α/r = 32/r"
    assert scalings[2] == pytest.approx([2, 2, 2, 2]), "α = 2r: α/r = 2"


def test_rules_share_the_cells_where_they_give_the_same_alpha() -> None:
    cells = cells_of("alpha", FULL, 5e-4)

    at_16 = [cell for cell in cells if cell.rank == 16]
    assert {cell.alpha for cell in at_16} == {ALPHA}
    assert len(at_16) == len(FULL.alpha_rates) * FULL.alpha_seeds
    assert len([cell for cell in cells if cell.rank == 4]) == 3 * len(at_16)
    default = Cell("sft", 8, "uniform", ALPHA, 5e-4, 0)
    assert default in cells
    assert default in cells_of("supervised", FULL, 5e-4), "and parts share them too"


def test_cells_share_steps_if_they_have_one_shape_and_start() -> None:
    cells = [Cell("sft", rank, "uniform", ALPHA, 5e-4, seed) for seed in range(3) for rank in (1, 2)]

    groups = list(shared(cells, together=2))

    assert [[(cell.rank, cell.seed) for cell in group] for group in groups] == [
        [(1, 0), (1, 1)],
        [(1, 2)],
        [(2, 0), (2, 1)],
        [(2, 2)],
    ]


def test_no_pair_of_numbers_is_asked_in_two_parts() -> None:
    parts = split(AMOUNTS)

    asked = [(item.kind, *sorted((item.first, item.second))) for part in parts for item in part]
    assert len(set(asked)) == len(asked)
    assert split(AMOUNTS) == parts
    for part, count in zip(parts[:3], (64, 256, 32), strict=True):
        assert [sum(item.kind == kind for item in part) for kind in KINDS] == [count, count]
    assert sum(item.kind == "sums" for item in parts.taught) == 1200
    assert sum(item.kind == "products" for item in parts.taught) == 720 - 64 - 256 - 32


def test_a_right_reply_is_the_answer_alone() -> None:
    item = Item("products", 34, 5)

    assert item.prompt[-1].content == "What is 34 * 5?"
    assert item.answer == "170"
    assert Item("sums", 34, 5).answer == "39"
    assert is_exact("170", str(item.task.known["answer"]))
    assert not is_exact("It is 170", str(item.task.known["answer"]))


def test_more_questions_than_there_are_products_are_refused() -> None:
    with pytest.raises(ValueError, match="721 products at least are needed; there are 720"):
        split(Amounts(400, 300, 20, 10))


def test_shares_are_counted_by_kind() -> None:
    items = [Item("sums", 10, 10), Item("products", 10, 2), Item("products", 10, 3)]

    assert right_of("sums", items, [True, False, False]) == 1
    assert right_of("products", items, [True, False, True]) == 0.5
    assert right_of("sums", items[1:], [True, True]) == 0

"""What is printed and drawn of rows that can be counted by hand."""

import xml.etree.ElementTree as ElementTree

import pytest
from defaults.cells import RULES, Cell, Method
from defaults.findings import (
    best_rates,
    fell,
    findings_of,
    mean_losses,
    one_rate,
    rules_of,
    steadiest,
)
from defaults.kept import Row, Score
from defaults.picture import picture
from defaults.tables import best_rates as rates_table
from defaults.tables import conclusion, losses, outcomes, steadiness

from populace.actors.training_options import Start
from populace.adapters.lora.shape import ALPHA

BEGAN: dict[Method, Score] = {"sft": Score(2.0, 0.0, 0.0), "rl": Score(1.0, 0.3, 0.1)}
RATES = (1e-4, 1e-3, 1e-2)


def rewarded(
    start: Start, right: list[float], *, rank: int = 1, loss: float = 1.0, ended: str = ""
) -> list[Row]:
    """Seeds with these shares of right replies."""
    return [
        Row(Cell("rl", rank, start, ALPHA, 5e-4, seed), Score(loss, share, share, 0.25), 9.0, ended)
        for seed, share in enumerate(right)
    ]


def by_rule(best: dict[str, dict[int, float]], seeds: int = 2) -> list[Row]:
    """Cells of each rule: the loss is 1 at the best rate of a rank, and 1 more for each rate beside it."""
    rows: dict[Cell, Row] = {}
    for name, rates in best.items():
        for rank, best_rate in rates.items():
            for rate in RATES:
                loss = 1.0 + abs(RATES.index(rate) - RATES.index(best_rate))
                for seed in range(seeds):
                    cell = Cell("sft", rank, "uniform", RULES[name](rank), rate, seed)
                    rows[cell] = Row(cell, Score(loss + 0.01 * seed, 0.0, 0.0), 1.0)
    return list(rows.values())


DEFAULT, CONSTANT, LINEAR = RULES


def test_a_rewarded_training_fell_if_fewer_are_right_and_a_supervised_one_if_its_loss_rose() -> None:
    [kept, lost] = rewarded("uniform", [0.2, 0.19], loss=9.0)
    supervised = Cell("sft", 1, "uniform", ALPHA, 5e-4, 0)

    assert not fell(kept, BEGAN["rl"])
    assert fell(lost, BEGAN["rl"])
    assert not fell(Row(supervised, Score(1.9, 0.0, 0.0), 1.0), BEGAN["sft"])
    assert fell(Row(supervised, Score(2.1, 0.5, 0.5), 1.0), BEGAN["sft"])
    assert fell(rewarded("uniform", [0.9], loss=float("nan"))[0], BEGAN["rl"])


def test_seeds_are_summed_up_by_rank_and_start() -> None:
    rows = [
        *rewarded("uniform", [0.1, 0.4, 0.7, 0.4]),
        *rewarded("pissa", [0.0, 0.0], ended="no reply was better"),
    ]

    uniform, pissa = findings_of(rows, BEGAN)

    assert (uniform.rank, uniform.start, uniform.seeds) == (1, "uniform", 4)
    assert (uniform.right.best, uniform.right.worst) == (0.7, 0.1)
    assert uniform.right.mean.value == pytest.approx(0.4)
    assert uniform.right.mean.low < 0.4 < uniform.right.mean.high
    assert uniform.collapsed.value == 0.25
    assert 0 < uniform.collapsed.low < 0.25 < uniform.collapsed.high < 1
    assert uniform.divergence == 0.25
    assert (pissa.collapsed.value, pissa.ended) == (1.0, 2)
    assert (pissa.loss.best, pissa.loss.worst) == (1.0, 1.0)


def test_of_losses_the_least_is_the_best() -> None:
    rows = [
        Row(Cell("sft", 4, "uniform", ALPHA, 5e-4, seed), Score(loss, 0.0, 0.0), 1.0)
        for seed, loss in enumerate((1.5, 1.25, 2.5))
    ]

    [found] = findings_of(rows, BEGAN)

    assert (found.loss.best, found.loss.worst) == (1.25, 2.5)
    assert found.collapsed.value == pytest.approx(1 / 3)


def test_the_steadiest_start_collapsed_least_and_then_has_the_best_worst_seed() -> None:
    rows = [
        *rewarded("pissa", [0.0, 0.9]),
        *rewarded("milora", [0.3, 0.3]),
        *rewarded("uniform", [0.4, 0.5]),
        *rewarded("uniform", [0.0, 0.0], rank=8),
    ]

    compared = steadiest(rows, BEGAN)

    assert [found.start for found in compared] == ["uniform", "milora", "pissa"]
    assert [found.cells for found in compared] == [2, 2, 2], "rank 8 has one start alone"
    assert [found.collapsed.value for found in compared] == [0, 0, 0.5]
    assert compared[0].worst == 0.4
    told = conclusion(BEGAN["rl"], compared)
    assert told.startswith("uniform collapsed in 0% of 2 trainings, the fewest, as did milora")
    assert "milora, pissa overlap" in told, "two seeds settle nothing"


def test_what_many_seeds_settle_is_not_doubted() -> None:
    compared = steadiest([*rewarded("uniform", [0.4] * 20), *rewarded("pissa", [0.0] * 20)], BEGAN)

    assert conclusion(BEGAN["rl"], compared) == "uniform collapsed in 0% of 20 trainings, the fewest."


def test_starts_without_a_common_rank_are_not_compared() -> None:
    rows = [*rewarded("uniform", [0.4]), *rewarded("pissa", [0.4], rank=2)]

    assert steadiest(rows, BEGAN) == []
    assert "no ranks" in conclusion(BEGAN["rl"], [])


def test_where_nothing_was_right_nothing_can_collapse() -> None:
    began: dict[Method, Score] = {"rl": Score(5.0, 0.0, 0.0)}
    compared = steadiest([*rewarded("uniform", [0.0]), *rewarded("pissa", [0.0])], began)

    assert "could collapse" in conclusion(began["rl"], compared)


def test_a_rule_whose_best_rate_is_the_same_at_every_rank_gives_nothing_up() -> None:
    rows = by_rule(
        {DEFAULT: {1: 1e-3, 4: 1e-3}, CONSTANT: {1: 1e-4, 4: 1e-2}, LINEAR: {1: 1e-2, 4: 1e-3}}, seeds=2
    )

    default, constant, linear = rules_of(rows)

    assert (default.rule, constant.rule, linear.rule) == (DEFAULT, CONSTANT, LINEAR)
    assert default.best_rates == {1: 1e-3, 4: 1e-3}
    assert (default.spread.value, default.given_up.value, default.one_rate) == (1, pytest.approx(0), 1e-3)
    assert constant.best_rates == {1: 1e-4, 4: 1e-2}
    assert constant.spread.value == pytest.approx(100)
    assert constant.given_up.value == pytest.approx(1)
    assert linear.spread.value == pytest.approx(10)
    assert linear.given_up.value == pytest.approx(0.5)
    assert default.losses[1, 1e-3] == pytest.approx(1.005), "the mean of the seeds"


def test_a_rule_counts_at_a_shared_rank_and_only_with_all_its_cells() -> None:
    rows = by_rule({DEFAULT: {4: 1e-3, 16: 1e-3}})
    at_16 = [row for row in rows if row.cell.rank == 16]

    assert [found.rule for found in rules_of(rows)] == [DEFAULT]
    assert [found.rule for found in rules_of(at_16)] == list(RULES), "all rules have the same cells there"
    first_seed = [row for row in rows if row.cell.seed == 0]
    one_more = [row for row in rows if row.cell.seed == 1][:-1]
    [found] = rules_of([*first_seed, *one_more])
    assert found.losses[4, 1e-3] == 1.0, "a seed that is not complete does not count"


def test_the_interval_of_a_spread_has_what_other_seeds_would_say() -> None:
    one = {(1, 1e-4): 1.0, (1, 1e-3): 2.0, (2, 1e-4): 1.0, (2, 1e-3): 2.0}
    other = {(1, 1e-4): 1.0, (1, 1e-3): 2.0, (2, 1e-4): 4.0, (2, 1e-3): 2.0}

    assert best_rates(one) == {1: 1e-4, 2: 1e-4}
    assert best_rates(other) == {1: 1e-4, 2: 1e-3}
    assert mean_losses([one, other])[2, 1e-4] == 2.5
    assert one_rate(other) == (1e-3, pytest.approx(0.5))


def test_tables_have_what_was_begun_on_and_each_finding() -> None:
    rows = [*rewarded("uniform", [0.1, 0.4]), *rewarded("pissa", [0.0, 0.0], ended="no reply was better")]
    found = findings_of(rows, BEGAN)

    table = outcomes("Rewards", BEGAN["rl"], found)

    assert {len(row) for row in table.rows} == {len(table.columns)}
    first, uniform, pissa = table.rows
    assert (first[1], first[5]) == ("before", "20.0%")
    assert uniform[:3] == ("1", "uniform", "2")
    assert uniform[6] == "40%, 10%"
    assert uniform[7].startswith("50.0% [")
    assert (uniform[9], pissa[9]) == ("", "2")
    compared = steadiness("Starts", steadiest(rows, BEGAN))
    assert [row[0] for row in compared.rows] == ["uniform", "pissa"]
    assert {len(row) for row in compared.rows} == {len(compared.columns)}


def test_the_table_of_rates_has_a_column_for_each_rank() -> None:
    rules = rules_of(by_rule({DEFAULT: {1: 1e-3, 4: 1e-3}, CONSTANT: {1: 1e-4, 4: 1e-2}}))

    table = rates_table(rules)

    assert table.columns[1:3] == ("rank 1", "rank 4")
    assert [row[:4] for row in table.rows] == [
        (DEFAULT, "0.001", "0.001", "1 x [1, 1]"),
        (CONSTANT, "0.0001", "0.01", "100 x [100, 100]"),
    ]
    of_rule = losses(rules[1])
    assert of_rule.rows[0] == ("0.0001", "1.005", "3.005")


def test_the_picture_names_each_start_and_rule() -> None:
    found = findings_of([*rewarded("uniform", [0.1, 0.4]), *rewarded("milora", [0.3])], BEGAN)
    rules = rules_of(by_rule({DEFAULT: {1: 1e-3, 4: 1e-3}}))

    drawn = ElementTree.fromstring(picture(BEGAN, {"rl": found}, rules))

    texts = {element.text for element in drawn.iter() if element.tag.endswith("}text")}
    assert {"uniform", "milora", "before", "rank 4", "learning rate", "0.001"} <= texts

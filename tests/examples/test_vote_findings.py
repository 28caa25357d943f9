"""What is counted from tables that can be counted by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from vote.findings import (
    BEST,
    DRAWN,
    MEAN,
    MEMBERS,
    ONE,
    Findings,
    Table,
    Tables,
    findings_of,
    sampled,
    sizes_up_to,
)

CHOICES = 3
SURE = 0.999


def table(answers: list[list[int]], labels: list[int], likely: float = SURE) -> Table:
    """Members that think so likely what they answer, and the rest alike."""
    probs = np.full((len(answers), len(labels), CHOICES), (1 - likely) / (CHOICES - 1))
    for member, row in enumerate(answers):
        probs[member, np.arange(len(row)), row] = likely
    return Table(np.log(probs), np.array(labels))


def found(asked: Table, probes: Table | None = None, sizes: list[int] | None = None) -> Findings:
    base = Table(asked.log_probs[:1], asked.labels)
    tables = Tables(base, asked if probes is None else probes, asked)
    return findings_of(tables, sizes or sizes_up_to(len(asked.log_probs)), draws=20)


@pytest.fixture
def complementary() -> Table:
    """Three members, each wrong in an item of three of its own."""
    labels = [0, 1, 2] * 10
    answers = [
        [(label + 1) % CHOICES if at % 3 == member else label for at, label in enumerate(labels)]
        for member in range(3)
    ]
    return table(answers, labels)


def test_members_that_are_wrong_in_different_items_are_right_together(complementary: Table) -> None:
    findings = found(complementary)

    assert findings.sizes == [1, 3]
    assert findings.member == pytest.approx(2 / 3)
    assert findings.curves[MEMBERS] == pytest.approx([2 / 3, 1.0])
    assert findings.curves[MEAN][1] == pytest.approx(1.0)
    assert findings.gains["the best member"].mean == pytest.approx(1 / 3)
    assert findings.gains["the best member"].low > 0
    assert findings.majority.good == pytest.approx(1 / 3)
    assert findings.majority.bad == 0
    assert findings.pairs.error_correlation < 0
    assert findings.effective == 3


def test_one_member_asked_again_is_no_better_than_once(complementary: Table) -> None:
    findings = found(complementary)

    assert findings.curves[ONE] == pytest.approx([2 / 3] * 2, abs=0.02)
    assert findings.gains["one member as often"].mean == pytest.approx(1 / 3, abs=0.02)


def test_members_that_are_the_same_gain_nothing() -> None:
    labels = [0, 1, 2, 0, 1, 2]
    findings = found(table([[0, 1, 2, 0, 0, 0]] * 4, labels))

    assert findings.curves[MEMBERS] == pytest.approx([4 / 6] * 3)
    assert [one.mean for one in findings.gains.values()][:3] == [0, 0, 0]
    assert findings.effective == pytest.approx(1)
    assert findings.diversity == pytest.approx(0, abs=1e-9)


def test_members_are_chosen_by_the_probes_and_judged_by_what_is_asked() -> None:
    labels = [0, 1, 2, 0]
    right, wrong = labels, [1, 2, 0, 1]

    findings = found(table([right, wrong], labels), probes=table([wrong, right], labels))

    assert findings.curves[BEST][0] == 0
    assert (findings.best, findings.luckiest) == (0, 1)


def test_every_curve_ends_with_all_members_and_has_a_law(complementary: Table) -> None:
    findings = found(complementary, sizes=[1, 2, 3])

    assert {len(curve) for curve in findings.curves.values()} == {3}
    assert set(findings.fits) == {MEMBERS, DRAWN, ONE}
    assert findings.fits[MEMBERS]["a + b ln k"].parameters["b"][0] > 0


def test_answers_are_drawn_as_often_as_they_are_likely() -> None:
    log_probs: NDArray[np.float64] = np.log(np.array([0.7, 0.2, 0.1]))
    drawn = sampled(np.broadcast_to(log_probs, (1, 20_000, 3)), np.random.default_rng(0))

    assert np.bincount(drawn[0]) / 20_000 == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


@pytest.mark.parametrize(
    ("members", "sizes"),
    [(1, [1]), (2, [1, 2]), (4, [1, 3, 4]), (32, [1, 3, 5, 9, 15, 25, 32])],
)
def test_sizes_are_odd_and_end_with_all(members: int, sizes: list[int]) -> None:
    assert sizes_up_to(members) == sizes

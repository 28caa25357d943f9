"""Members together, at once and one after the other are told apart, and the aim is of the right two."""

import pytest

from scripts.bench.ask import AT_ONCE, ONE_BY_ONE, TOGETHER, AskBench, Asked, reported


def test_medians_and_the_ratio_to_requests_at_once_are_reported() -> None:
    bench = AskBench(members=(4, 16), rounds=3)
    taken = {
        (count, side): [Asked(0.1, seconds * scale, 8 * count) for scale in (1.0, 2.0, 0.5)]
        for count in bench.members
        for side, seconds in ((TOGETHER, 1.0), (AT_ONCE, 0.8), (ONE_BY_ONE, 4.0))
    }

    report = reported(bench, taken)

    assert [(row["members"], row["side"], row["answer_ms"]) for row in report.rows[3:]] == [
        (16, TOGETHER, 1000),
        (16, AT_ONCE, 800),
        (16, ONE_BY_ONE, 4000),
    ]
    assert report.rows[3]["speed_up"] == 4.0
    assert report.rows[3]["tokens_a_second"] == pytest.approx(128)
    [aim] = report.aims
    assert (aim.value, aim.met) == (1.25, False)


def test_without_the_aimed_number_there_is_no_aim() -> None:
    taken = {(1, side): [Asked(0.1, 0.2, 8)] for side in (TOGETHER, AT_ONCE, ONE_BY_ONE)}

    assert reported(AskBench(members=(1,), rounds=1), taken).aims == []

"""A bench prints one object with the fields that scripts rely on, and a missed aim as missed."""

import json

import pytest
from rich.console import Console

from scripts.bench.report import Aim, BenchReport, machine, percentile


@pytest.mark.parametrize(
    ("value", "at_most", "is_met"),
    [(0.95, False, True), (0.94, False, False), (1.1, True, True), (1.11, True, False)],
)
def test_an_aim_is_met_on_its_side_only(value: float, at_most: bool, is_met: bool) -> None:
    target = 1.1 if at_most else 0.95

    assert Aim("ratio", value, target, "×", at_most).met is is_met


def test_the_object_has_the_promised_fields() -> None:
    report = BenchReport("serve", rows=[{"streams": 1}], aims=[Aim("ratio", 0.9, 0.95, "×", at_most=False)])

    body = json.loads(json.dumps(report.body()))

    assert {"bench": "serve", "machine": machine(), "rows": [{"streams": 1}]}.items() <= body.items()
    assert body["aims"] == [{"name": "ratio", "value": 0.9, "aim": 0.95, "unit": "×", "met": False}]


def test_the_table_says_which_aims_were_missed() -> None:
    report = BenchReport("serve", rows=[{"streams": 1, "tokens/s": 27.6}])
    report.aims += [
        Aim("throughput", 0.9, 0.95, "×", at_most=False),
        Aim("TTFT", 1.0, 1.1, "×", at_most=True),
    ]
    console = Console(width=200, no_color=True)

    with console.capture() as capture:
        report.print(console)

    lines = capture.get().splitlines()
    assert "throughput: 0.900 × (aim ≥ 0.950) missed" in lines
    assert "TTFT: 1.000 × (aim ≤ 1.100) met" in lines


def test_percentiles_lie_between_the_values() -> None:
    values = [float(value) for value in range(101)]

    assert percentile(values, 50) == pytest.approx(50, abs=0.2)
    assert percentile(values, 95) == pytest.approx(95, abs=0.2)
    assert percentile([7.0], 95) == 7.0

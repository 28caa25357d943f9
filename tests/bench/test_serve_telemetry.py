"""Servers that trace are compared with one that does not, round by round."""

from pathlib import Path

import pytest

from scripts.bench.load import Load, Sample
from scripts.bench.processes import BenchFailed
from scripts.bench.serve import Measured, Round, ServeBench
from scripts.bench.serve_telemetry import ALL, OFF, OFF_TOO, SOME, check_written, compare, trace_bytes

BENCH = ServeBench(streams=(1, 16), rounds=2, structured=False)


def measured(speeds: dict[str, tuple[float, float]], cpu_s: dict[str, float]) -> Measured:
    """Two requests in each of two rounds, with these tokens/s and processor seconds."""
    return {
        (name, load): [
            Round(
                [Sample(0.1, 1.0, 50)] * 2,
                100 / speed,
                {"gateway": cpu_s[name] / 2, "host": cpu_s[name] / 2, "engine": 10 / speed},
            )
            for speed in of_rounds
        ]
        for name, of_rounds in speeds.items()
        for load in BENCH.loads
    }


def test_a_ratio_is_of_the_same_rounds() -> None:
    # The second round was slower for all, by something else that the machine did.
    speeds = {OFF: (100.0, 50.0), OFF_TOO: (101.0, 50.5), SOME: (98.0, 49.0), ALL: (90.0, 45.0)}
    cpu_s = {OFF: 0.2, OFF_TOO: 0.2, SOME: 0.2002, ALL: 0.2006}

    report = compare(BENCH, measured(speeds, cpu_s))

    rows = {(row["traced"], row["streams"]): row for row in report.rows}
    assert {name: rows[name, 16]["ratio"] for name in speeds} == {OFF: 1, OFF_TOO: 1.01, SOME: 0.98, ALL: 0.9}
    assert rows[SOME, 1]["95 %"] == "0.980 to 0.980"
    assert rows[ALL, 1]["processor ms / request"] == 100.3
    assert rows[ALL, 1]["more"] == 0.3
    assert [(aim.name, aim.value, aim.met) for aim in report.aims] == [
        ("tokens/s with 1 % traced, 1 streams", 0.98, False),
        ("tokens/s with 1 % traced, 16 streams", 0.98, False),
        ("two servers without traces apart, 1 streams", 0.01, True),
        ("two servers without traces apart, 16 streams", 0.01, True),
        ("processor time of a traced turn, 16 streams", 0.3, False),
    ]


def test_a_hundredth_less_is_within_the_aim() -> None:
    speeds = {OFF: (100.0, 100.0), OFF_TOO: (100.0, 100.0), SOME: (99.0, 99.0), ALL: (99.0, 99.0)}

    report = compare(BENCH, measured(speeds, dict.fromkeys(speeds, 0.2)))

    assert [aim.met for aim in report.aims] == [True] * 5


def test_a_run_that_compared_nothing_fails(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    assert trace_bytes(tmp_path) == 0
    traces.mkdir()
    (traces / "gateway-0.jsonl").write_bytes(b"12345")
    (traces / "host-0.jsonl.1").write_bytes(b"678")
    assert trace_bytes(tmp_path) == 8

    check_written({OFF: 0, OFF_TOO: 0, SOME: 0, ALL: 8})
    with pytest.raises(BenchFailed, match="wrote no traces"):
        check_written({OFF: 0, OFF_TOO: 0, SOME: 0, ALL: 0})
    with pytest.raises(BenchFailed, match="without traces wrote 8 bytes"):
        check_written({OFF: 0, OFF_TOO: 8, SOME: 0, ALL: 8})


def test_every_load_is_there_for_every_server() -> None:
    assert BENCH.loads == (Load(1, 2, 48), Load(16, 2, 48))

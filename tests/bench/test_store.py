"""A run of the store's bench, as small as one can be, has what the large one promises."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.bench.commands.main import app
from scripts.bench.report import BenchReport
from scripts.bench.store import MEMORY_FILESYSTEMS, StoreBench, bench_store, filesystem_of

TINY = StoreBench(models=(1, 4), rounds=1, seconds=0.02, reads=8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    directory = tmp_path_factory.mktemp("disk")
    report = bench_store(TINY, directory, report=lambda step, fraction: None)
    assert list(directory.iterdir()) == [], "the bench leaves files behind"
    return report


def test_both_sides_are_measured_at_each_number_of_models_then_reads_and_activations(
    tiny: BenchReport,
) -> None:
    assert [(row["operation"], row["models"]) for row in tiny.rows] == [
        ("commit in groups", 1),
        ("commit one by one", 1),
        ("commit in groups", 4),
        ("commit one by one", 4),
        ("read a model", 4),
        ("read an interaction", 4),
        ("activate", 4),
        ("activate, with 8 earlier turns", 4),
    ]


def test_every_row_has_a_rate_and_two_latencies(tiny: BenchReport) -> None:
    for row in tiny.rows:
        rate, median_ms, worst_ms = float(row["per second"]), float(row["p50 ms"]), float(row["p99 ms"])
        assert rate > 0
        assert 0 < median_ms <= worst_ms


def test_the_aim_is_the_ratio_of_the_two_sides_at_the_most_models(tiny: BenchReport) -> None:
    [aim] = tiny.aims
    grouped, single = (float(row["per second"]) for row in tiny.rows[2:4])

    assert aim.name == "turns per second, in groups relative to one by one, 4 models"
    assert (aim.aim, aim.at_most) == (20.0, False)
    assert aim.value == pytest.approx(grouped / single, rel=0.05, abs=0.1)


def test_the_report_says_what_rows_that_are_ready_would_take(tiny: BenchReport) -> None:
    assert any(note.startswith("the same rows, ready") for note in tiny.notes)


def test_progress_starts_low_and_never_goes_back(tmp_path: Path) -> None:
    fractions: list[float] = []

    bench_store(
        StoreBench(models=(1, 2), rounds=1, seconds=0.01, reads=2),
        tmp_path,
        report=lambda step, fraction: fractions.append(fraction),
    )

    assert fractions[0] == 0.0
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1.0


def test_a_file_system_is_the_innermost_one_that_holds_the_path() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(Path("/")) not in {"", "proc", *MEMORY_FILESYSTEMS}


def test_a_directory_in_memory_is_refused() -> None:
    result = CliRunner().invoke(app, ["store", "--data", "/dev/shm", "--models", "1", "--seconds", "0.01"])

    assert result.exit_code == 1
    assert "fsync costs nothing" in result.stderr

"""Both sides of the training bench train the same people on the same, to the same losses."""

from pathlib import Path

import pytest

from populace.settings.settings import Settings
from scripts.bench.training.bench import TrainingBench, bench_training
from scripts.bench.training.times import TrainingTimes
from scripts.bench.training_work import Work
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.release("benches")]

WORK = Work(rank=2, steps=3, sequences=2, tokens=(8, 12))


@pytest.fixture(scope="module")
def small_base(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_files)


def test_shared_steps_and_peft_learn_the_same(small_base: Path) -> None:
    with TrainingTimes(small_base, "f" * 64, WORK) as times:
        shared, alone = times.shared(range(3)), times.alone(range(3))
        again, keeping = times.shared([1]), times.alone([1], keeps_memory=True)

    for ours, theirs in zip(shared.losses, alone.losses, strict=True):
        assert ours == pytest.approx(theirs, abs=0.02)
        assert ours[-1] < ours[0]
    assert again.losses[0] == pytest.approx(shared.losses[1], abs=0.02)
    assert shared.held_out == pytest.approx(alone.held_out, abs=0.02)
    # The freed memory that is kept changes no number.
    assert keeping.losses[0] == alone.losses[1]
    assert keeping.held_out[0] == alone.held_out[1]
    assert min(shared.seconds, alone.seconds) > 0
    assert WORK.tokens_of(range(3)) == sum(WORK.tokens_of([person]) for person in range(3))


def test_the_bench_reports_every_size_and_what_limits_it(small_base: Path, tmp_path: Path) -> None:
    settings = Settings.from_environment(base=str(small_base), cache=tmp_path)
    bench = TrainingBench(people=(1, 8), rounds=1, rank=2, steps=2, sequences=2, tokens=(8, 12))
    said: list[str] = []

    result, curves = bench_training(bench, settings, lambda what, share: said.append(what))

    assert [(row["side"], row["people"]) for row in result.rows if "people" in row] == [
        ("PEFT, one by one", 1),
        ("PEFT that keeps freed memory", 1),
        ("shared steps", 1),
        ("shared steps", 8),
    ]
    parts = [row for row in result.rows if "share" in row]
    assert sum(float(row["share"]) for row in parts) == pytest.approx(1, abs=0.01)
    assert sum(float(row["seconds"]) for row in parts) > 0, "a part of so small a base may be rounded to 0"
    assert [aim.unit for aim in result.aims] == ["x PEFT", "nats per token", "nats per token", "of the peak"]
    assert result.aims[1].met
    assert result.aims[2].met
    assert result.aims[3].value > 0, "two times of a busy machine: either may be the longer"
    assert "a token takes" in result.notes[0]
    assert said == ["1 people at once", "8 people at once"] * 2
    assert {name: len(losses) for name, losses in curves.items()} == {
        "PEFT": 2,
        "shared by 1": 2,
        "shared by 8": 2,
    }

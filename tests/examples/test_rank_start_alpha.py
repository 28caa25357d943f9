"""The whole study of defaults, on a base that is small enough."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import rank_start_alpha
import torch
from defaults import training
from defaults.cells import FEW, Cell, cells_of
from defaults.reading import Reader
from defaults.tasks import Item, split
from defaults.training import Trainings

from populace.actors.engine import MemoryUse, Message
from populace.actors.training_options import STARTS, Start
from populace.adapters.lora.shape import ALPHA
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import reply_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.learning.rollouts import Rollout
from populace.settings.environment import process_environment
from populace.storage.packed.adapter import PackedAdapter
from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.release("studies")]

SHORT = training.FEW._replace(steps=2, taught_steps=2, taught_part=1)


@pytest.fixture(scope="module")
def base(small_base: Path) -> FrozenBase:
    return FrozenBase(small_base, "f" * 64)


@pytest.fixture
def trainings(base: FrozenBase, small_base: Path) -> Trainings:
    return Trainings(base, BaseTokenizer(small_base), SHORT, lambda _: None)


def cell(start: Start = "uniform", seed: int = 0) -> Cell:
    return Cell("sft", 2, start, ALPHA, 5e-3, seed)


def test_cells_that_share_steps_become_what_they_become_alone(trainings: Trainings) -> None:
    reader = trainings.reader(None)
    cells = [cell(seed=seed) for seed in range(2)]

    together = trainings.supervised(cells, reader)
    alone = [row for one in cells for row in trainings.supervised([one], reader)]

    assert [row.cell for row in together] == cells
    for shared, single in zip(together, alone, strict=True):
        assert shared.score.loss == pytest.approx(single.score.loss, abs=0.01)
        assert shared.score.loss != reader.began.loss
    assert together[0].score != together[1].score


@pytest.mark.parametrize("start", STARTS)
def test_each_start_is_trained_and_measured_beside_the_base(start: Start, trainings: Trainings) -> None:
    reader = trainings.reader(None)

    first, other = trainings.supervised([cell(start), cell(start, seed=1)], reader)

    assert first.score.divergence > 0
    assert first.score.loss != other.score.loss, "another seed learns in another order"
    assert first.ended == ""


def test_a_reply_is_right_if_each_of_its_tokens_is_the_likeliest(
    base: FrozenBase, small_base: Path, trainings: Trainings
) -> None:
    encoder = ExampleEncoder(BaseTokenizer(small_base), base.context_tokens)
    items = split(SHORT.amounts).held_out
    reader = Reader(base, encoder, items, None)
    sequences = [encoder.sequence(item.prompt, item.answer) for item in items]
    told = [sequence for sequence in sequences if sequence is not None]

    counts = sum(len(sequence.scored) for sequence in told)
    assert reader.began.loss == pytest.approx(-sum(reply_log_probs(base, None, told)) / counts, rel=1e-4)
    assert reader.began.right == 0, "a random base says no sum"
    assert reader.began.divergence == pytest.approx(0, abs=1e-6)
    learned = trainings.taught(None)
    with torch.no_grad():
        assert reader.score(learned.adapter).loss < reader.began.loss


def test_what_rewards_begin_on_is_taught_once(trainings: Trainings, tmp_path: Path) -> None:
    path = tmp_path / "cells.json.adapter"

    first = trainings.taught(path)
    second = trainings.taught(path)

    assert path.read_bytes() == first.packed
    assert second.digest == first.digest
    assert isinstance(second.adapter, TrainableAdapter)
    cells = [Cell("rl", 2, start, ALPHA, 5e-4, 0) for start in ("uniform", "olora-tail")]
    assert trainings.served_rank(cells[:1], first) == 8 + 2
    assert trainings.served_rank(cells, first) == 8 + 4, "what it begins with is served too"


class HalfRight:
    """A sampler whose every second reply is the right answer, and the others are its first digit."""

    def __init__(self, tokenizer: BaseTokenizer, items: Sequence[Item]) -> None:
        self._tokenizer = tokenizer
        self._answers = {item.prompt: item.answer for item in items}

    @property
    def context_tokens(self) -> int:
        return 128

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        revision = PackedAdapter(memoryview(packed)).digest
        return [
            [self._rollout(prompt, revision, is_right=number % 2 == 0) for number in range(replies)]
            for prompt in prompts
        ]

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        raise AssertionError("a study asks for no greedy replies")

    def _rollout(self, prompt: tuple[Message, ...], revision: str, *, is_right: bool) -> Rollout:
        answer = self._answers[prompt]
        reply = answer if is_right else answer[:1]
        ids = tuple(self._tokenizer.tokens_of(reply).ids)
        return Rollout(prompt, reply, ids, (-11.0,) * len(ids), revision, 0, finished=True)


def test_what_is_rewarded_is_learned_on_what_was_taught(small_base: Path, trainings: Trainings) -> None:
    lower = trainings.taught(None)
    reader = trainings.reader(lower.adapter)
    sampler = HalfRight(BaseTokenizer(small_base), split(SHORT.amounts).learned)
    cells = [Cell("rl", 2, "olora-tail", ALPHA, 5e-3, seed) for seed in range(2)]

    rows = trainings.rewarded(cells, reader, lower, sampler)

    assert [row.cell for row in rows] == cells
    for row in rows:
        assert row.ended == ""
        assert row.score.divergence > 0
        assert row.score.loss != reader.began.loss


def test_a_study_goes_on_with_what_it_has_kept(
    small_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, drawn = tmp_path / "cells.json", tmp_path / "cells.svg"
    options = ["--few", "--base", str(small_base), "--json", str(kept), "--ranks", "1"]

    rank_start_alpha.main([*options, "--part", "supervised"])
    first = json.loads(kept.read_text())
    rank_start_alpha.main([*options, "--part", "alpha", "--svg", str(drawn)])
    both = json.loads(kept.read_text())
    modified = kept.stat().st_mtime_ns
    rank_start_alpha.main([*options, "--part", "supervised"])

    assert len(first["rows"]) == len(cells_of("supervised", FEW._replace(ranks=(1,)), 5e-4))
    assert both["rows"][: len(first["rows"])] == first["rows"]
    assert len(both["rows"]) > len(first["rows"])
    assert kept.stat().st_mtime_ns == modified, "nothing was missing"
    out = capsys.readouterr().out
    assert "Learned from right answers" in out
    assert "Best learning rate at each rank" in out
    assert "α ∝ √r" in drawn.read_text()
    with pytest.raises(SystemExit, match="another study"):
        rank_start_alpha.main(["--base", str(small_base), "--json", str(kept), "--part", "alpha"])


def test_rewards_are_measured_also_where_none_is_given(small_base: Path, tmp_path: Path) -> None:
    """A random base says no sum, so that each training ends before its first step and says why."""
    kept = tmp_path / "cells.json"
    program = Path(rank_start_alpha.__file__)
    options = ["--few", "--part", "reward", "--ranks", "1", "--seeds", "1", "--base", str(small_base)]

    done = subprocess.run(
        [sys.executable, str(program), *options, "--json", str(kept)],
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=ENGINE_HANG_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Nothing was right before" in done.stdout
    rows = json.loads(kept.read_text())["rows"]
    assert [row["cell"]["start"] for row in rows] == ["uniform", "olora-tail"]
    assert all("no reply was better" in row["ended"] for row in rows)
    assert kept.with_name("cells.json.adapter").exists()


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--part", "poems"], ["--ranks", "few"]])
def test_an_option_that_is_none_is_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        rank_start_alpha.main(wrong)

    assert wrong[0] in capsys.readouterr().err

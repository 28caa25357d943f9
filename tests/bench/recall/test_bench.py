"""A run as small as one can be, on a random base with a random memory, has every row of a large one."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populace.adapters.memory.module import MemoryModule
from populace.base.memory_module import find_memory_module
from populace.base.prepare import prepare_base
from populace.settings.environment import process_environment
from populace.settings.settings import Settings
from scripts.bench.commands.main import app
from scripts.bench.random_module import random_module
from scripts.bench.recall.bench import SETS, RecallBench, RecallImpossible, bench_recall
from scripts.bench.recall.held_out import CHECKOUT
from tests.limits import HANG_SECONDS
from tests.small_base import make_small_base

pytestmark = pytest.mark.slow

HELD_OUT = Path(__file__).parents[3] / CHECKOUT


@pytest.fixture(scope="module")
def settings(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = make_small_base(tmp_path_factory.mktemp("small-base"), base_files)
    return Settings.from_environment(
        base=str(folder), cache=tmp_path_factory.mktemp("cache"), engine="torch", context_tokens=512
    )


@pytest.fixture(scope="module")
def memory(settings: Settings) -> MemoryModule:
    base = prepare_base(settings.base, settings.cache)
    return random_module(base.directory, base.fingerprint)


@pytest.fixture(scope="module")
def module(memory: MemoryModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("module") / "module.safetensors"
    path.write_bytes(memory.pack())
    return path


def test_every_set_is_measured_and_every_aim_judged(
    settings: Settings, memory: MemoryModule, module: Path
) -> None:
    bench = RecallBench(
        HELD_OUT, str(module), requests=3, reply_tokens=4, people=2, chat_turns=2, long_chat_turns=4
    )
    shares: list[float] = []

    report = bench_recall(bench, settings, lambda step, share: shares.append(share))

    assert {row["set"] for row in report.rows} == {*SETS, "cost"}
    assert len(report.aims) == 17
    assert report.rows[-2]["value"] == memory.state_format("0" * 64).packed_bytes
    counts = {(row["of"], row["measure"]): row["n"] for row in report.rows}
    assert counts["memory", "same reply as the base"] == 3
    assert counts["new combinations, 30", "recalled"] == 30
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    json.dumps(report.body(), allow_nan=False)


def test_seeds_are_measured_together_and_only_the_sets_that_are_wanted(
    settings: Settings, module: Path
) -> None:
    bench = RecallBench(
        HELD_OUT,
        str(module),
        sets=("general", "never-told"),
        seeds=2,
        requests=2,
        reply_tokens=3,
        people=1,
        chat_turns=1,
    )

    report = bench_recall(bench, settings, lambda step, share: None)

    assert {row["set"] for row in report.rows} == {"general", "never-told", "cost"}
    counts = {(row["of"], row["measure"]): row["n"] for row in report.rows}
    assert counts["memory", "same reply as the base"] == 4


def test_a_way_without_a_memory_needs_no_module_and_replies_can_be_looked_at(
    settings: Settings, tmp_path: Path
) -> None:
    replies = tmp_path / "replies.jsonl"
    bench = RecallBench(
        HELD_OUT,
        "missing",
        way="retrieval",
        sets=("generated",),
        requests=2,
        reply_tokens=3,
        replies=replies,
    )

    report = bench_recall(bench, settings, lambda step, share: None)

    assert report.rows[-2]["value"] == 0
    assert float(report.rows[-1]["value"]) > 60, "what was found stands in the prompts"
    assert report.notes[0].startswith("known by retrieval;")
    heard = [json.loads(line) for line in replies.read_text().splitlines()]
    assert len(heard) == report.rows[-1]["n"]
    assert {one["stage"] for one in heard} == {"Generated facts"}
    assert all(one["asked"] for one in heard)


def test_as_it_comes_it_measures_the_module_that_is_shipped() -> None:
    base = prepare_base(None, Settings.from_environment().cache)

    assert find_memory_module(RecallBench(HELD_OUT).module, base.fingerprint) is not None


def test_a_base_without_a_module_is_refused_by_name(settings: Settings) -> None:
    with pytest.raises(RecallImpossible, match="--memory-module"):
        bench_recall(RecallBench(HELD_OUT), settings, lambda step, share: None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "everything"], "never-told"),
        (["--way", "guessing"], "retrieval"),
        (["--replies", "/nowhere/replies.jsonl"], "/nowhere"),
        (["--held-out", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_starts(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["recall", *arguments])

    assert result.exit_code != 0
    assert said in result.stderr.replace("\n", "")


def test_an_interrupted_bench_leaves_nothing_behind(settings: Settings, module: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "populace", "bench", "recall", "--memory-module", str(module)]
    environment = process_environment(
        POPULACE_BASE=str(settings.base),
        POPULACE_ENGINE="torch",
        POPULACE_CONTEXT_TOKENS="512",
        TMPDIR=str(tmp_path),
    )
    with subprocess.Popen(command, cwd=HELD_OUT, stderr=subprocess.DEVNULL, env=environment) as process:
        give_up = time.monotonic() + HANG_SECONDS
        while not list(tmp_path.glob("populace-*")):
            assert process.poll() is None, "the bench ended"
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.wait(HANG_SECONDS)

    assert process.returncode != 0
    assert list(tmp_path.glob("populace-*")) == []

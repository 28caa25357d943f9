"""A soak of a few thousand identities stays within its bounds, and says so when something does not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populace.actors.host.personal_model import ACTIVATION_BYTES
from populace.policies.placement import shard_of
from populace.settings.environment import process_environment
from populace.storage.records import keys
from populace.storage.store import Store
from scripts.bench.commands.main import app
from scripts.bench.report import BenchReport
from scripts.bench.soak import bench as soak
from scripts.bench.soak.bench import bench_soak, check_rows
from scripts.bench.soak.population import SoakBench, SoakPopulation, model_of
from tests.limits import HANG_SECONDS

pytestmark = pytest.mark.slow

TINY = SoakBench(
    identities=3000,
    active_share=0.1,
    seconds=HANG_SECONDS,
    turns=2000,
    shards=2,
    map_bytes=2**20,
    resident_bytes_max=150 * ACTIVATION_BYTES,
    free_bytes_min=2**16,
    creates_at_once=64,
    talks_at_once=16,
    sweep_seconds=0.1,
)


@pytest.fixture(scope="module")
def often() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soak, "SAMPLE_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, often: None) -> BenchReport:
    directory = tmp_path_factory.mktemp("disk")
    report = bench_soak(TINY, directory, report=lambda step, fraction: None)
    assert list(directory.iterdir()) == [], "the soak leaves files behind"
    return report


def met(report: BenchReport) -> dict[str, bool]:
    return {aim.name: aim.met for aim in report.aims}


def test_a_soak_stays_within_every_bound(tiny: BenchReport) -> None:
    assert [name for name, is_met in met(tiny).items() if not is_met] == []


def test_a_soak_creates_talks_leaves_and_compacts(tiny: BenchReport) -> None:
    steps = [str(row["step"]) for row in tiny.rows]
    last = dict(zip(steps, tiny.rows, strict=True))

    assert list(dict.fromkeys(steps)) == ["create", "talk", "leave", "compact"]
    assert last["create"]["identities"] == 3000
    assert last["talk"]["turns"] == 2000
    assert last["leave"]["identities"] == 1200
    assert float(last["compact"]["file MiB"]) < float(last["talk"]["file MiB"]) / 1.5
    assert float(last["talk"]["map MiB"]) > 2 * float(tiny.rows[0]["map MiB"])


def test_activations_come_and_go_within_their_budget(tiny: BenchReport) -> None:
    talk = [row for row in tiny.rows if row["step"] == "talk"]

    assert max(int(row["active"]) for row in talk) <= 150
    assert int(talk[-1]["activations"]) > 300
    assert int(talk[-1]["passivations"]) > 150


def test_only_what_is_kept_of_the_longest_log_is_counted(tiny: BenchReport) -> None:
    [aim] = [aim for aim in tiny.aims if aim.name.startswith("interactions kept")]
    turns = int(aim.name.rsplit(" ", 1)[1].removesuffix(".").replace(",", ""))

    assert 0 < aim.value < turns


def test_writes_that_meet_a_full_map_are_a_missed_aim(tmp_path: Path, often: None) -> None:
    # A group commit of 512 creations touches more pages than are left when a map is grown ahead.
    crowded = replace(TINY, map_bytes=2**19, creates_at_once=TINY.identities, turns=1)

    report = bench_soak(crowded, tmp_path, report=lambda step, fraction: None)

    assert [name for name, is_met in met(report).items() if not is_met] == ["writes that met a full map"]


async def test_a_turn_that_is_not_in_the_log_is_found(tmp_path: Path) -> None:
    bench = replace(TINY, identities=100, turns=20)
    async with SoakPopulation.running(bench, tmp_path / "store") as population:
        await population.create(100)
        await population.talk()
        assert (await population.check_logs()).wrong == 0

        population.turns[3] += 1

        assert (await population.check_logs()).wrong == 1


async def test_a_row_that_was_lost_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store"
    async with SoakPopulation.running(replace(TINY, identities=100), path) as population:
        await population.create(100)
    report = BenchReport("soak")
    check_rows(path, report, lambda step, fraction: None)
    assert met(report) == {"shards that fail their integrity check": True}

    lost = next(model for model in map(model_of, range(100)) if shard_of(*model, TINY.shards) == 0)
    with closing(Store.open(path).open_shard(0, "the test")) as shard:
        shard.write([lambda txn: txn.delete(keys.head(*lost))])

    report = BenchReport("soak")
    check_rows(path, report, lambda step, fraction: None)
    assert met(report) == {"shards that fail their integrity check": False}
    assert [note for note in report.notes if note.startswith("shard 0: ")]


def test_one_object_is_printed(tmp_path: Path, often: None) -> None:
    arguments = ["soak", "--identities", "1000", "--seconds", "0.2", "--data", str(tmp_path), "--json"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.stderr
    assert {"bench", "machine", "rows", "aims"} <= set(json.loads(result.stdout))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "populace", "bench", "soak", "--data", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=process_environment()) as process:
        give_up = time.monotonic() + HANG_SECONDS
        # Unlike rglob, walk passes over a folder that is renamed meanwhile.
        while not any("data.mdb" in files for _, _, files in os.walk(tmp_path)):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.wait(HANG_SECONDS)

    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []

"""A disk fills while 50 models talk: named errors, and nothing acknowledged is lost or doubled."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.limits import HANG_SECONDS
from tests.runtime.gateway.talk_on_full_disk import MODELS, TURNS_AFTER
from tests.runtime.gateway.test_operations import samples_of
from tests.storage.small_disk import OWN_MOUNTS, may_mount

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", params=["limit", "file system"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("disk")
    prefix: tuple[str, ...] = ()
    if request.param == "file system":
        if not may_mount(path):
            pytest.skip("this user may not mount a file system; the limit on file sizes stands in for it")
        prefix = OWN_MOUNTS
    module = "tests.runtime.gateway.talk_on_full_disk"
    done = subprocess.run(
        [*prefix, sys.executable, "-m", module, str(path), request.param],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_acknowledged_turn_is_in_the_log_once_and_in_order(report: dict[str, Any]) -> None:
    assert len(report["acknowledged"]) == MODELS
    assert report["logged"] == report["acknowledged"]
    assert all(len(turns) >= TURNS_AFTER for turns in report["acknowledged"].values())


def test_refused_turns_take_effect_under_the_same_operation_id_when_space_returns(
    report: dict[str, Any],
) -> None:
    assert report["repeated"] >= MODELS


def test_every_refusal_says_what_it_is_and_when_to_try_again(report: dict[str, Any]) -> None:
    refusals = [refusal.split(" ") for refusal in report["refusals"]]

    assert {code for _, code, _ in refusals} <= {"unknown_outcome", "shard_stopped"}
    # A stream has begun with status 200, and ends with the error.
    assert {status for status, _, _ in refusals} <= {"503", "200"}
    assert all(float(retry_after) >= 1 for status, _, retry_after in refusals if status == "503")
    assert any(status == "503" for status, _, _ in refusals)


def test_the_metrics_of_a_full_disk_are_answered(report: dict[str, Any]) -> None:
    samples = samples_of(report["metrics_while_full"])

    open_shards = [value for (name, _), value in samples.items() if name == "populace_store_shards_open"]
    assert len(open_shards) == 2
    assert sum(open_shards) <= 2

"""An acknowledged turn survives power loss: a recorded store at work, with unsynced writes dropped.

``kill -9`` cannot show this, because the kernel still writes what a killed process left to it.
"""

import sys
from pathlib import Path

import pytest

from tests.storage.disk_recording import record
from tests.storage.power_loss import Verdict, judge
from tests.storage.power_loss_writer import KILLED_EARLY, RESHARDED_OFTEN
from tests.torture import amounts

WRITER = "tests.storage.power_loss_writer"


def lose_power_often(tmp_path: Path, images: int, *flaws: str) -> tuple[list[Verdict], str]:
    """Record a writer and check the images; answer what is wrong with which, and how to see it again."""
    root, trace, work = tmp_path / "root", tmp_path / "trace", tmp_path / "images"
    root.mkdir()
    work.mkdir()
    record(WRITER, root, trace, *flaws)
    wrong = [verdict for verdict in judge(trace, root, work, images) if verdict.problem is not None]
    again = f"{sys.executable} -m tests.storage.power_loss {trace} {root} SEED SEED+1 DIRECTORY"
    return wrong, f"{len(wrong)} of {images}, such as {wrong[:3]}; rebuild one with: {again}"


@pytest.mark.parametrize("images", amounts(320, sample=40))
def test_what_was_acknowledged_is_there_whole_after_power_loss(tmp_path: Path, images: int) -> None:
    wrong, report = lose_power_often(tmp_path, images)

    assert wrong == [], report


@pytest.mark.parametrize("images", amounts(40, sample=10))
def test_it_is_there_also_if_the_store_was_made_by_a_process_that_was_killed(
    tmp_path: Path, images: int
) -> None:
    wrong, report = lose_power_often(tmp_path, images, KILLED_EARLY)

    assert wrong == [], report


@pytest.mark.parametrize("images", amounts(320, sample=40))
def test_a_resharding_leaves_one_whole_store_after_power_loss(tmp_path: Path, images: int) -> None:
    wrong, report = lose_power_often(tmp_path, images, RESHARDED_OFTEN)

    assert wrong == [], report


@pytest.mark.parametrize(
    "flaw",
    ["lmdb without sync", "lmdb without metasync", "files without fsync", "directories without fsync"],
)
def test_a_store_that_does_not_sync_is_found_out(tmp_path: Path, flaw: str) -> None:
    wrong, report = lose_power_often(tmp_path, 40, flaw)

    assert len(wrong) >= 5, report

"""The examples of learning run whole, if small, and leave no process behind."""

import json
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("studies")]

EXAMPLES = Path(__file__).parents[2] / "examples"


def children() -> set[int]:
    return {one.pid for one in psutil.Process().children(recursive=True)}


def test_rewards_are_measured_by_rank_and_drawn(served: Served, tmp_path: Path) -> None:
    told, drawn, before = tmp_path / "rewards.json", tmp_path / "rewards.svg", children()
    options = ("--ranks", "1", "2", "--seeds", "1", "--rounds", "1", "--json", str(told), "--svg", str(drawn))

    done = served.run(str(EXAMPLES / "verifiable_rl.py"), *options)

    assert done.returncode == 0, done.stderr
    measured = json.loads(told.read_text())
    assert [run["rank"] for run in measured["runs"]] == [1, 2]
    scores = [measured["before"], *(run["after"] for run in measured["runs"])]
    assert 0 < max(score["sampled"] for score in scores) <= 1, "without a reward nothing is measured"
    assert "rank 2" in drawn.read_text()
    assert children() <= before


def test_what_a_note_says_is_measured_with_it_and_without(served: Served, tmp_path: Path) -> None:
    told, before = tmp_path / "facts.json", children()

    done = served.run(
        str(EXAMPLES / "distill_context.py"), "--seeds", "1", "--rounds", "1", "--json", str(told)
    )

    assert done.returncode == 0, done.stderr
    measured = json.loads(told.read_text())
    assert measured["noted"] > measured["before"], "it reads its note"
    assert [run["seed"] for run in measured["runs"]] == [0]
    assert children() <= before


def test_all_ways_to_know_are_measured(served: Served, tmp_path: Path) -> None:
    told, before = tmp_path / "ways.json", children()
    options = ("--people", "1", "--seeds", "1", "--general", "3", "--json", str(told))

    done = served.run(str(EXAMPLES / "ways_to_know.py"), *options)

    assert done.returncode == 0, done.stderr
    rows = json.loads(told.read_text())
    ways = [row["way"] for row in rows]
    assert all((len(row["right"]), len(row["general"])) == (3, 3) for row in rows)
    assert len(ways) == len(set(ways)) == 8
    assert {"base", "memory", "adapter", "retrieval", "memory + adapter + retrieval"} <= set(ways)
    assert children() <= before


def test_what_is_known_of_people_is_measured(served: Served, tmp_path: Path) -> None:
    told, before = tmp_path / "facts.json", children()

    done = served.run(str(EXAMPLES / "known_people.py"), "--people", "2", "--json", str(told))

    assert done.returncode == 0, done.stderr
    assert "facts of 2 people" in done.stdout
    rows = json.loads(told.read_text())
    assert rows, done.stdout
    assert not any(row["right"] is False for row in rows), done.stdout
    assert children() <= before


def test_a_style_and_a_memory_are_measured_together(served: Served, tmp_path: Path) -> None:
    told, before = tmp_path / "style.json", children()

    done = served.run(
        str(EXAMPLES / "style_and_memory.py"),
        "--tellings",
        "2",
        "--general",
        "2",
        "--epochs",
        "1",
        "--json",
        str(told),
    )

    assert done.returncode == 0, done.stderr
    measured = {row["way"]: row for row in json.loads(told.read_text())}
    assert list(measured) == ["base", "base + memory", "adapter", "adapter + memory"]
    assert not any(measured["base"]["styled"])
    assert len(measured["adapter + memory"]["styled"]) == 2
    assert children() <= before


def test_the_days_of_a_month_are_measured(served: Served, tmp_path: Path) -> None:
    told, picture, before = tmp_path / "month.json", tmp_path / "month.svg", children()
    options = ("--days", "2", "--night", "0", "--general", "2", "--json", str(told), "--svg", str(picture))

    done = served.run(str(EXAMPLES / "month.py"), *options)

    assert done.returncode == 0, done.stderr
    measured = {row["way"]: row for row in json.loads(told.read_text())}
    assert list(measured) == ["as served", "weights alone", "everything off"]
    assert {row["day"] for row in measured.values()} == {2}
    assert {len(row["right"]) for row in measured.values()} == {2 * 5}, "two questions for each of five facts"
    assert measured["everything off"]["revision"] == "base"
    assert picture.read_text().startswith("<?xml")
    assert children() <= before

"""What was measured is kept as it was, and never mixed with another study."""

import json
from pathlib import Path

import pytest
from defaults.cells import RULES, Cell
from defaults.kept import Kept, Row, Score

CELLS = [Cell("sft", 8, "uniform", rule(8), 1.25e-4, seed) for rule in RULES.values() for seed in (0, 1)]
ROWS = [Row(cell, Score(1 / 3, 0.125, 0.0, 1e-9), 0.1, "") for cell in CELLS]


def test_a_study_goes_on_with_the_cells_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cells.json"
    kept = Kept(path, "study")
    kept.begin("sft", Score(2.0, 0.0, 0.0))
    kept.add(ROWS[:4])

    again = Kept(path, "study")

    assert again.missing(CELLS) == CELLS[4:]
    assert list(again.rows.values()) == ROWS[:4]
    assert again.began == {"sft": Score(2.0, 0.0, 0.0)}
    again.add(ROWS[4:])
    assert Kept(path, "study").missing(CELLS) == []


def test_a_file_of_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    Kept(path, "study").add(ROWS)

    with pytest.raises(SystemExit, match="another study"):
        Kept(path, "other")


def test_cells_that_began_elsewhere_are_refused() -> None:
    kept = Kept(None, "study")
    kept.begin("rl", Score(1.0, 0.2, 0.2))

    kept.begin("rl", Score(1.001, 0.2, 0.2))
    with pytest.raises(SystemExit, match="cannot be compared"):
        kept.begin("rl", Score(1.2, 0.2, 0.2))
    assert kept.began["rl"].loss == 1.0


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Kept(None, "study")
    kept.add(ROWS)

    assert kept.taught_path is None
    assert kept.missing(CELLS) == []
    assert not list(tmp_path.iterdir())


def test_the_file_says_what_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    kept = Kept(path, "study")
    kept.about = {"machine": "two cores"}
    kept.add(ROWS[:1])

    content = json.loads(path.read_text())

    assert content["machine"] == "two cores"
    assert content["rows"][0]["cell"]["rank"] == 8
    assert kept.taught_path == tmp_path / "cells.json.adapter"

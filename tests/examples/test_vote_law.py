"""The whole study of votes, on a base that is small enough."""

import json
from pathlib import Path

import pytest
import vote_law

pytestmark = [pytest.mark.engine, pytest.mark.release("studies")]


@pytest.fixture
def options(small_base: Path) -> list[str]:
    return f"--base {small_base} --tasks products --members 4 --steps 2 --draws 5".split()


def test_a_study_goes_on_with_what_it_has_kept(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options += ["--json", "--to", str(tmp_path)]

    vote_law.main(options)
    first = json.loads(capsys.readouterr().out)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    vote_law.main(options)
    second = json.loads(capsys.readouterr().out)

    assert set(kept) == {"products.npz", "result.json", "vote-law-products.svg"}
    assert (tmp_path / "products.npz").stat().st_mtime_ns == kept["products.npz"]
    assert first == second
    found = first["findings"]["products"]
    assert found["sizes"] == [1, 3, 4]
    assert found["diversity"] > 0, "members that learned from different halves are not the same"
    with pytest.raises(SystemExit, match="another study"):
        vote_law.main([*options, "--rank", "1"])


def test_a_study_without_a_folder_prints_its_tables(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    vote_law.main(options)

    out = capsys.readouterr().out
    assert "right answers of k members" in out
    assert "one member as often" in out
    assert "0.0172 ln k" in out


@pytest.mark.parametrize("wrong", [["--members", "0"], ["--tasks", "poems"], ["--steps", "few"]])
def test_an_option_that_is_none_is_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        vote_law.main(wrong)

    assert wrong[0] in capsys.readouterr().err

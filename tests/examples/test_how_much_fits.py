"""The whole study of what fits, on a base that is small enough: it goes on from what is kept."""

import json
from pathlib import Path

import how_much_fits
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.release("studies")]


@pytest.fixture
def options(small_base: Path, tmp_path: Path) -> list[str]:
    """Lists of a few items, which a base of random weights learns some of."""
    told = f"--base {small_base} --ranks 1 2 --loads 0.02 0.06 --kinds attention all --seeds 1 --passes 2"
    return [*told.split(), "--learning-rate", "0.01", "--json", str(tmp_path / "fits.json")]


def test_a_study_goes_on_with_what_it_has_kept(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, drawn = tmp_path / "fits.json", tmp_path / "fits.svg"

    how_much_fits.main([*options, "--svg", str(drawn)])
    first = json.loads(kept.read_text())
    told = capsys.readouterr().out
    how_much_fits.main([*options, "--seeds", "2"])
    both = json.loads(kept.read_text())

    assert "published band is 0.001 to 0.01" in told
    assert "at most" in told
    cells = {(row["kind"], row["rank"], row["load"]) for row in first["measured"]}
    assert {cell[:2] for cell in cells} == {("attention", 1), ("attention", 2), ("all", 1), ("all", 2)}
    for row in first["measured"]:
        assert 0 <= row["recalled"] <= row["tokens"]
        assert sum(row["by_way"].values()) <= row["items"]
        assert row["passes"] <= 3.0
    assert both["measured"][: len(first["measured"])] == first["measured"], "nothing is learned again"
    assert {row["seed"] for row in both["measured"]} == {0, 1}
    assert [row["name"] for row in both["fits"]][-2:] == ["attention", "all"]
    assert "attention, rank 1" in drawn.read_text()
    with pytest.raises(SystemExit, match="another study"):
        how_much_fits.main([*options, "--passes", "3"])

"""The whole study, on a base that is small enough and made-up changelogs."""

import gzip
import json
from pathlib import Path

import personal_style
import pytest

PEOPLE = ("Ada Lovelace", "Bob Byte", "Cleo Core")
WORDS = ["loom", "card", "wheel", "yarn", "thread", "needle", "shuttle", "spool", "hook", "frame"]

pytestmark = [pytest.mark.engine, pytest.mark.release("studies")]


@pytest.fixture(scope="module")
def changelogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages in which each person has a phrase of their own."""
    folder = tmp_path_factory.mktemp("doc")
    for number in range(len(WORDS)):
        blocks = [
            f"{WORDS[number]} (1.{day}-{at}) unstable; urgency=low\n\n"
            f"  * {person.split()[0]} has changed the {WORDS[(number + day) % 10]} and the {WORDS[day % 7]}\n"
            f"    of {WORDS[(number * day) % 9]}{'s' * at} once more, for good.\n\n"
            f" -- {person} <{at}@example.org>  Mon, {day:02} Jan 2024 {number:02}:0{at}:00 +0000\n"
            for day in range(28, 0, -1)
            for at, person in enumerate(PEOPLE)
        ]
        path = folder / WORDS[number] / "changelog.Debian.gz"
        path.parent.mkdir()
        path.write_bytes(gzip.compress("\n".join(blocks).encode()))
    return folder


@pytest.fixture
def options(small_base: Path, changelogs: Path) -> list[str]:
    """Two people, of whom little is learned."""
    told = f"--base {small_base} --changelogs {changelogs} --people 2 --seeds 1 --rank 2"
    return f"{told} --learned 150 --held-out 60 --epochs 1".split()


def test_a_study_goes_on_with_what_it_has_kept(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options += ["--json", "--to", str(tmp_path)]

    personal_style.main(options)
    first = json.loads(capsys.readouterr().out)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    personal_style.main([*options, "--seeds", "2"])
    both = json.loads(capsys.readouterr().out)

    assert set(kept) == {"seed-0.json", "result.json", "personal-style.svg"}
    assert (tmp_path / "seed-0.json").stat().st_mtime_ns == kept["seed-0.json"]
    assert both["readings"]["seeds"][0] == first["readings"]["seeds"][0]
    assert both["readings"]["seeds"][1] != first["readings"]["seeds"][0]
    with pytest.raises(SystemExit, match="another study"):
        personal_style.main([*options, "--rank", "4"])


def test_several_amounts_are_studied_with_the_same_people_and_held_out_entries(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    personal_style.main([*options, "--learned", "150", "70", "--json", "--to", str(tmp_path)])

    told = json.loads(capsys.readouterr().out)
    assert [one["learned"] for one in told["by_size"]] == [70, 150]
    few, more = (one["findings"] for one in told["by_size"])
    assert few["base"] == more["base"]
    assert few["losses"] != more["losses"]
    assert more == told["findings"]
    assert {path.stem for path in tmp_path.glob("seed-*.json")} == {"seed-0-70", "seed-0-150"}
    assert set(told["readings"]["seeds"][0]["shares"]) <= {0.0, 0.25, 0.5, 1.0}


def test_upstream_change_logs_are_another_kind_of_text(
    small_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, word in enumerate(WORDS[:2]):
        headers = [
            f"2024-01-{day:02}  {person}  <{at}@example.org>\n\n"
            f"\t* {word}.c (main): {person.split()[0]} turned the {WORDS[(number + day) % 10]} and the\n"
            f"\t{WORDS[(day * at) % 7]} {'more ' * (day % 5)}until it held.\n\n"
            f"\t* {word}.h: The {WORDS[day % 10]} {'of it ' * (day % 7)}is not used by {person} any more.\n"
            for day in range(28, 0, -1)
            for at, person in enumerate(PEOPLE)
        ]
        path = tmp_path / word / "changelog.gz"
        path.parent.mkdir()
        path.write_bytes(gzip.compress("\n".join(headers).encode()))
    told = f"--base {small_base} --changelogs {tmp_path} --people 2 --seeds 1 --rank 2 --epochs 1 --json"

    personal_style.main([*told.split(), *["--text", "upstream", "--learned", "150", "--held-out", "60"]])

    people = json.loads(capsys.readouterr().out)["people"]
    assert len(people) == 2
    assert all("of 2 packages" in one["learned"] for one in people)


def test_a_study_without_a_folder_prints_its_tables(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    personal_style.main(options)

    printed = capsys.readouterr().out
    for told in (
        "own adapter + retrieval",
        "everybody's adapter",
        "from all, by all entries",
        "from one other, by one entry",
        "own, on everybody's",
        "mean share kept of own on everybody's",
    ):
        assert told in printed


def test_too_few_people_are_said(options: list[str]) -> None:
    with pytest.raises(SystemExit, match="not 9"):
        personal_style.main([*options, "--people", "9"])

"""The whole study, on a base that is small enough and made-up changelogs."""

import gzip
import json
from pathlib import Path

import personal_style
import pytest

PEOPLE = ("Ada Lovelace", "Bob Byte", "Cleo Core")
WORDS = ["loom", "card", "wheel", "yarn", "thread", "needle", "shuttle", "spool", "hook", "frame"]

pytestmark = pytest.mark.engine


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
    ):
        assert told in printed


def test_too_few_people_are_said(options: list[str]) -> None:
    with pytest.raises(SystemExit, match="not 9"):
        personal_style.main([*options, "--people", "9"])

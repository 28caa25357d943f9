"""Whose an entry of a changelog is, and what of it is learned and what held out."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from style.changelogs import Budget, Entry, Writer, chosen_writers, is_kept_back, read_entries, worded_once

ADA, BOB = "Ada Lovelace <ada@example.org>", "Bob Byte <bob@example.org>"


def block(version: str, text: str, author: str = ADA, day: int = 1, options: str = "urgency=low") -> str:
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    signed = f" -- {author}  Mon, {day:02} Jan 2024 10:00:00 +0100\n"
    return f"loom ({version}) unstable; {options}\n\n{lines}\n{signed}"


def written(folder: Path, package: str, *blocks: str) -> None:
    path = folder / package / "changelog.Debian.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress("\n".join(blocks).encode()))


def entry(person: str, package: str, day: int, text: str) -> Entry:
    return Entry(person, package, f"1-{day}", day, text)


def diary(person: str, packages: Sequence[str], days: int) -> list[Entry]:
    """An entry of a word a day, in each package in turn."""
    return [entry(person, packages[day % len(packages)], day, f"{person}{day}") for day in range(days)]


def chosen(entries: Sequence[Entry], *, people: int = 1, same_packages: bool = False) -> list[Writer]:
    by_time = sorted(entries, key=lambda one: one.written)
    budget = Budget(learned=4, held_out=2, entry_min=1)
    return chosen_writers(by_time, people, budget, lambda one: 1, same_packages=same_packages)


@pytest.fixture
def packages() -> tuple[list[str], list[str]]:
    """Names of packages that are learned from, and of such that are kept back."""
    names = [f"{letter}loom-1" for letter in "abcdefghijkl"]
    return [one for one in names if not is_kept_back(one)], [one for one in names if is_kept_back(one)]


def test_an_entry_is_what_its_signer_wrote(tmp_path: Path) -> None:
    written(tmp_path, "loom", block("1.0-1", "* Weave.\n  Twice."))

    [found] = read_entries(tmp_path)

    assert (found.person, found.package, found.version) == ("Ada Lovelace", "loom", "1.0-1")
    assert found.text == "* Weave.\n  Twice."


def test_what_follows_a_name_in_brackets_is_that_persons(tmp_path: Path) -> None:
    text = "[ Bob Byte ]\n* Knit.\n\n[ Ada Lovelace ]\n* Weave."
    written(tmp_path, "loom", block("1.0-1", text))

    found = {one.person: one.text for one in read_entries(tmp_path)}

    assert found == {"Bob Byte": "* Knit.", "Ada Lovelace": "* Weave."}


def test_a_version_counts_once_whatever_packages_carry_it(tmp_path: Path) -> None:
    written(tmp_path, "loom", block("1.0-1", "* Weave."))
    written(tmp_path, "libloom1", block("1.0-2", "* Knit.", day=2), block("1.0-1", "* Weave."))

    assert [one.version for one in read_entries(tmp_path)] == ["1.0-1", "1.0-2"]


def test_rebuilds_and_programs_have_no_style(tmp_path: Path) -> None:
    rebuilt = block("1.0-1+b1", "* Rebuild.", options="urgency=low, binary-only=yes")
    by_program = block("1.0-2", "* Trim.", author="Debian Janitor <janitor@example.org>")
    written(tmp_path, "loom", rebuilt, by_program)

    assert read_entries(tmp_path) == []


def test_a_wording_is_whose_it_was_first() -> None:
    first = entry("Ada", "loom", 1, "* New upstream release 1.2.")
    again = entry("Bob", "yarn", 2, "* New  upstream\n  release (13.4)")
    other = entry("Bob", "yarn", 3, "* New upstream version 1.2.")

    assert worded_once([first, again, other]) == [first, other]


def test_what_is_learned_is_older_than_what_is_held_out(packages: tuple[list[str], list[str]]) -> None:
    learned, kept_back = packages

    [writer] = chosen(diary("Ada", learned + kept_back, 40))

    assert max(one.written for one in writer.learned) < min(one.written for one in writer.held_out)
    assert len(writer.learned) == 4
    assert len(writer.held_out) == 2


def test_a_package_is_learned_from_or_held_out_whoever_wrote_in_it(
    packages: tuple[list[str], list[str]],
) -> None:
    learned, kept_back = packages
    everywhere = learned + kept_back

    writers = chosen(diary("Ada", everywhere, 40) + diary("Bob", everywhere[::-1], 40), people=2)

    assert {one.package for writer in writers for one in writer.learned} <= set(learned)
    assert {one.package for writer in writers for one in writer.held_out} <= set(kept_back)


def test_who_has_one_package_is_chosen_only_if_packages_may_be_the_same(
    packages: tuple[list[str], list[str]],
) -> None:
    entries = diary("Ada", packages[0][:1], 40)

    [writer] = chosen(entries, same_packages=True)

    assert [one.written for one in (*writer.learned, *writer.held_out)] == [34, 35, 36, 37, 38, 39]
    with pytest.raises(LookupError, match="0 people wrote enough"):
        chosen(entries)


def test_packages_of_one_family_are_kept_back_together() -> None:
    families = (("llvm-toolchain-18", "llvm-toolchain-19"), ("python3.12", "python3.13"), ("gtk4", "gtk+3.0"))

    assert all(is_kept_back(one) == is_kept_back(other) for one, other in families)


def test_who_wrote_more_comes_first(packages: tuple[list[str], list[str]]) -> None:
    everywhere = packages[0] + packages[1]

    writers = chosen(diary("Ada", everywhere, 30) + diary("Bob", everywhere, 50), people=2)

    assert [writer.name for writer in writers] == ["Bob", "Ada"]

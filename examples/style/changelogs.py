# pyright: reportMissingTypeStubs=false
"""What people wrote into the Debian changelogs of a machine, oldest first.

A changelog is as deb-changelog(5) says: entries of one version each, signed by one person; what follows a
line ``[ Name ]`` in an entry is that person's. Packages made from one source carry the same changelog.
"""

import gzip
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import NamedTuple

from debian.changelog import ChangeBlock, Changelog

FILES = "*/changelog.Debian.gz"
PROGRAMS = re.compile(r"\b(Janitor|Daemon|Bot|Team|Maintainers|Developers|Group)\b", re.IGNORECASE)
"""Words in names that are not one person's."""

_SECTION = re.compile(r"\s*\[ (.+) \]\s*")


class Entry(NamedTuple):
    """What one person wrote about one version of a source package; lines are wrapped as they were.

    ``written`` is in seconds of the epoch.
    """

    person: str
    package: str
    version: str
    written: int
    text: str


class Writer(NamedTuple):
    """A person's entries in the order of time: those to learn from, and newer ones to be judged by."""

    name: str
    learned: tuple[Entry, ...]
    held_out: tuple[Entry, ...]


class Budget(NamedTuple):
    """How much is learned and held out of each person, and how long an entry may be, in units of a cost.

    The entry that reaches an amount is the last.
    """

    learned: int
    held_out: int
    entry_min: int = 16
    entry_max: int = 160


def read_entries(folder: Path) -> list[Entry]:
    """Read the entries of all changelogs below the folder, oldest first, each version of a source once."""
    entries: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    for path in sorted(folder.glob(FILES)):
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            for block in Changelog(file, allow_empty_author=True):
                key = (str(block.package), str(block.version))
                if key not in seen:
                    seen.add(key)
                    entries += entries_of(block)
    return sorted(entries, key=lambda one: (one.written, one.package, one.version))


def entries_of(block: ChangeBlock) -> Iterator[Entry]:
    """One for each person who wrote a part of it; none without a date, or for a rebuild of an old source."""
    date = parsedate_tz(block.date or "")
    if date is None or "binary-only" in {name.lower() for name in block.other_pairs}:
        return
    parts: dict[str, list[str]] = defaultdict(list)
    person = re.sub(r"\s*<.*", "", block.author or "").strip()
    for line in block.changes():
        section = _SECTION.fullmatch(line)
        if section is not None:
            person = section[1].strip()
        else:
            parts[person].append(line.removeprefix("  ").rstrip())
    for name, lines in parts.items():
        text = "\n".join(lines).strip("\n")
        if name and text.strip() and PROGRAMS.search(name) is None:
            yield Entry(name, str(block.package), str(block.version), mktime_tz(date), text)


def worded_once(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out what somebody has written before in the same words: it is nobody's own.

    Numbers, marks and spaces make no other words. The entries are in the order of time; so what is held out
    of their end was never learned, from whomever.
    """
    seen: set[str] = set()
    kept: list[Entry] = []
    for entry in entries:
        wording = re.sub(r"[\W\d_]+", " ", entry.text.lower()).strip()
        if wording not in seen:
            seen.add(wording)
            kept.append(entry)
    return kept


def chosen_writers(
    entries: Sequence[Entry],
    people: int,
    budget: Budget,
    cost: Callable[[Entry], int],
    *,
    same_packages: bool = False,
) -> list[Writer]:
    """Choose the people who wrote most to learn from, and of each the newest entries.

    Some packages are nobody's to learn from, and what is held out is of those, so that nobody is recognised
    by the name of a package; ``same_packages`` does without. What is learned is older than all
    that is held out of the same person. Raises ``LookupError`` if fewer people wrote enough.
    """
    by_person: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_person[entry.person].append(entry)
    found: list[tuple[int, Writer]] = []
    for name, own in by_person.items():
        newest = [(one, cost(one)) for one in reversed(own)]
        newest = [(one, size) for one, size in newest if budget.entry_min <= size <= budget.entry_max]
        held_out = _first(
            [(one, size) for one, size in newest if same_packages or is_kept_back(one.package)],
            budget.held_out,
        )
        if held_out is None:
            continue
        older = [
            (one, size)
            for one, size in newest
            if one.written < held_out[-1].written and (same_packages or not is_kept_back(one.package))
        ]
        learned = _first(older, budget.learned)
        if learned is not None:
            found.append((sum(size for _, size in older), Writer(name, learned[::-1], held_out[::-1])))
    if len(found) < people:
        raise LookupError(f"{len(found)} people wrote enough, not {people}: ask for fewer, or less of each")
    found.sort(key=lambda one: (-one[0], one[1].name))
    return [writer for _, writer in found[:people]]


def is_kept_back(package: str) -> bool:
    """Whether nobody learns from this package: so for half of the first words of packages' names.

    ``llvm-toolchain-18`` and ``llvm-toolchain-19`` have much in common, as have ``binutils`` and
    ``binutils-gold``.
    """
    first = re.match(r"[a-z]*", package)
    assert first is not None
    return hashlib.sha256(first[0].encode()).digest()[0] % 2 == 0


def _first(entries: Sequence[tuple[Entry, int]], budget: int) -> tuple[Entry, ...] | None:
    """The first entries whose costs reach the budget together, or None."""
    chosen: list[Entry] = []
    spent = 0
    for entry, size in entries:
        if spent >= budget:
            break
        chosen.append(entry)
        spent += size
    return tuple(chosen) if spent >= budget else None

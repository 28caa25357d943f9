# pyright: reportMissingTypeStubs=false
"""Reads who wrote what in the Debian changelogs of a machine.

The format is that of deb-changelog(5): an entry is of one version and signed by one person; lines after
``[ Name ]`` in an entry are that person's. Packages of one source have the same changelog.
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
"""Words in names of programs and groups, which are no person's."""

_SECTION = re.compile(r"\s*\[ (.+) \]\s*")


class Entry(NamedTuple):
    """A person's text about one version of a source package, with its line breaks.

    ``written`` is in seconds since the epoch.
    """

    person: str
    package: str
    version: str
    written: int
    text: str


class Writer(NamedTuple):
    """A person's entries, oldest first: those of the training, and newer held-out ones."""

    name: str
    learned: tuple[Entry, ...]
    held_out: tuple[Entry, ...]


class Budget(NamedTuple):
    """The amounts of each person's training and held-out entries, and bounds of an entry, in units of a cost.

    The entry that reaches an amount is the last one.
    """

    learned: int
    held_out: int
    entry_min: int = 16
    entry_max: int = 160


def read_entries(folder: Path) -> list[Entry]:
    """Return the entries of all changelogs in the folder, oldest first; each version of a source once."""
    entries: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    for path in sorted(folder.glob(FILES)):
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            for block in Changelog(file, allow_empty_author=True):
                key = (str(block.package), str(block.version))
                if key not in seen:
                    seen.add(key)
                    entries += entries_of(block)
    return sorted(entries, key=lambda entry: (entry.written, entry.package, entry.version))


def entries_of(block: ChangeBlock) -> Iterator[Entry]:
    """Yield an entry for each person who wrote a part; none for undated blocks and binary rebuilds."""
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
    """Return the entries, oldest first, without those whose words an earlier entry of anyone has.

    Numbers, punctuation and spaces are ignored. A held-out entry is therefore never in any training data.
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
    """Choose the people with the most training data, and the newest entries of each.

    Held-out entries are of packages that no training data has, so that no package's name identifies a person;
    ``same_packages`` lifts this. Training entries are older than all held-out ones of the same person. Raises
    ``LookupError`` if too few people wrote enough.
    """
    by_person: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_person[entry.person].append(entry)
    candidates: list[tuple[int, Writer]] = []
    for name, own in by_person.items():
        newest = [(entry, cost(entry)) for entry in reversed(own)]
        newest = [(entry, size) for entry, size in newest if budget.entry_min <= size <= budget.entry_max]
        held_out = _first(
            [(entry, size) for entry, size in newest if same_packages or is_kept_back(entry.package)],
            budget.held_out,
        )
        if held_out is None:
            continue
        older = [
            (entry, size)
            for entry, size in newest
            if entry.written < held_out[-1].written and (same_packages or not is_kept_back(entry.package))
        ]
        learned = _first(older, budget.learned)
        if learned is not None:
            written = sum(size for _, size in older)
            candidates.append((written, Writer(name, learned[::-1], held_out[::-1])))
    if len(candidates) < people:
        raise LookupError(
            f"{len(candidates)} people wrote enough, not {people}: lower --people, --learned or --held-out."
        )
    candidates.sort(key=lambda candidate: (-candidate[0], candidate[1].name))
    return [writer for _, writer in candidates[:people]]


def shortened(writer: Writer, learned: int, cost: Callable[[Entry], int]) -> Writer:
    """Return the writer with the newest training entries of this amount only, or all if they are fewer."""
    newest = [(entry, cost(entry)) for entry in reversed(writer.learned)]
    kept = _first(newest, learned)
    return writer if kept is None else writer._replace(learned=kept[::-1])


def is_kept_back(package: str) -> bool:
    """Return whether a package is in no training data, which holds for half of the first words of names.

    Packages with the same first word, such as ``llvm-toolchain-18`` and ``llvm-toolchain-19``, have much in
    common.
    """
    first = re.match(r"[a-z]*", package)
    assert first is not None
    return hashlib.sha256(first[0].encode()).digest()[0] % 2 == 0


def _first(entries: Sequence[tuple[Entry, int]], budget: int) -> tuple[Entry, ...] | None:
    """Return the first entries whose costs reach the budget together, or None if all do not."""
    chosen: list[Entry] = []
    spent = 0
    for entry, size in entries:
        if spent >= budget:
            break
        chosen.append(entry)
        spent += size
    return tuple(chosen) if spent >= budget else None

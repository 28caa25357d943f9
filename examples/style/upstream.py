"""Reads who wrote what in the change logs of upstream projects on a machine, in GNU's format.

A header is a date, a name and an address; the paragraphs after it are that person's, each about one change.
Several packages may have the same file.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from style.changelogs import Entry

FILES = "*/changelog.gz"
HEADERS_MIN = 20
"""A file with fewer headers is of another format."""

_HEADER = re.compile(r"(\d{4}-\d\d-\d\d)\s+(\S[^<]*?)\s*<[^>]*>\s*")


def read_upstream(folder: Path) -> list[Entry]:
    """Return the paragraphs of all change logs in the folder, oldest first; those of each file once.

    The version of an entry is its date.
    """
    entries: list[Entry] = []
    seen: set[bytes] = set()
    for path in sorted(folder.glob(FILES)):
        data = gzip.decompress(path.read_bytes())
        digest = hashlib.sha256(data).digest()
        if digest not in seen:
            seen.add(digest)
            lines = data.decode(errors="replace").splitlines()
            if sum(_HEADER.fullmatch(line) is not None for line in lines) >= HEADERS_MIN:
                # The newest change comes first, also of those of one day.
                entries += reversed(list(paragraphs_of(path.parent.name, lines)))
    return sorted(entries, key=lambda entry: (entry.written, entry.package))


def paragraphs_of(package: str, lines: list[str]) -> Iterator[Entry]:
    """Yield an entry for each paragraph under a header; none for those under a date that there is not."""
    person = day = ""
    written: int | None = None
    paragraph: list[str] = []
    for line in [*lines, ""]:
        header = _HEADER.fullmatch(line)
        if header is None and line.strip():
            paragraph.append(line.strip())
            continue
        if paragraph and written is not None:
            yield Entry(person, package, day, written, "\n".join(paragraph))
        paragraph = []
        if header is not None:
            day, person = header[1], header[2]
            try:
                written = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
            except ValueError:
                written = None

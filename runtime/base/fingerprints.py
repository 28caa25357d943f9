"""The fingerprints of directories, which the cache keeps with the sizes and times of their files.

``find_base`` finds a base by its fingerprint: a path is where to look, and never what names it.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from populace.base.default import default_directory
from populace.base.files import BaseInvalid, fingerprint

NOTE_VERSION = 1
NOTES = "fingerprints"
BASES = "bases"
"""The folder of the cache that has converted and fetched bases."""

logger = logging.getLogger(__name__)


def find_base(named: str, cache_directory: Path, directory: Path | None = None) -> Path | None:
    """Return the directory of a base with this fingerprint on this machine, None if none is known.

    Looks in ``directory``, in the cache, and where a base of this fingerprint was met before. A directory
    whose files changed since is read again, at about 1 s for each GB.
    """
    for candidate in _candidates(named, cache_directory, directory):
        if not candidate.is_dir():
            continue
        try:
            found = known_fingerprint(candidate, cache_directory) or keep_fingerprint(
                candidate, cache_directory
            )
        except (BaseInvalid, OSError) as error:
            logger.warning("%s has not the base %.12s…: %s", candidate, named, error)
            continue
        if found == named:
            return candidate
        logger.warning("%s has not the base %.12s… but %.12s…", candidate, named, found)
    return None


def fetched_directory(named: str, cache_directory: Path) -> Path:
    """Return where the cache keeps a base that came from another machine, whether or not it is there."""
    return cache_directory / BASES / named


def known_fingerprint(directory: Path, cache_directory: Path) -> str | None:
    """Return the fingerprint that was noted for the files as they are, None if there is none."""
    return _read_note(_note(directory, cache_directory), _file_states(directory))


def keep_fingerprint(directory: Path, cache_directory: Path) -> str:
    """Read the directory, note its fingerprint, and return it. Raises ``BaseInvalid``."""
    state = _file_states(directory)
    found = fingerprint(directory)
    _write_note(_note(directory, cache_directory), directory, state, found)
    return found


def note_fingerprint(directory: Path, cache_directory: Path, found: str) -> None:
    """Note the fingerprint that the files, as they are now, were just found to have."""
    _write_note(_note(directory, cache_directory), directory, _file_states(directory), found)


def _candidates(named: str, cache_directory: Path, directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
    yield fetched_directory(named, cache_directory)
    for note in sorted((cache_directory / NOTES).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = cast(dict[str, Any], json.loads(note.read_bytes()))
            if content["fingerprint"] == named:
                yield Path(content["directory"])
    yield default_directory(cache_directory)


def _note(directory: Path, cache_directory: Path) -> Path:
    return cache_directory / NOTES / f"{_short_hash(str(directory))}.json"


def _file_states(directory: Path) -> list[list[str | int]]:
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _read_note(note: Path, state: list[list[str | int]]) -> str | None:
    try:
        content = cast(dict[str, Any], json.loads(note.read_bytes()))
        if content["version"] == NOTE_VERSION and content["files"] == state:
            return str(content["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # The note is missing or damaged: the fingerprint is computed again.
    return None


def _write_note(note: Path, directory: Path, state: list[list[str | int]], known: str) -> None:
    content = {"version": NOTE_VERSION, "directory": str(directory), "files": state, "fingerprint": known}
    part = note.with_suffix(f".{_short_hash(json.dumps(state))}.part")
    # A cache that cannot be written costs reading the base again, and no more.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(note)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

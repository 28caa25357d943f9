"""The note beside the shards of when the last backup was finished, so that whoever watches sees its age."""

import json
from pathlib import Path

from populace.storage.records.files import write_durably

NOTE_FILE = "last-backup.json"


def note_finished(data_directory: Path, finished_ms: int) -> None:
    """Write the note, in place of the last one. Raises ``DiskRefused``."""
    write_durably(data_directory / NOTE_FILE, json.dumps({"finished_ms": finished_ms}).encode())


def read_finished_ms(data_directory: Path) -> int | None:
    """Return when the last backup was finished; None without one, or if the note cannot be read."""
    try:
        noted = json.loads((data_directory / NOTE_FILE).read_bytes())
        return int(noted["finished_ms"])
    except (OSError, ValueError, TypeError, KeyError):
        return None

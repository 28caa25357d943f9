"""Keeps the tables of a task in a folder, so that a study resumes without training again."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from vote.findings import Table, Tables

from populace.storage.records.files import write_durably


def load_or_make(folder: Path | None, name: str, what: str, make: Callable[[], Tables]) -> Tables:
    """Return a task's tables from its file, or make and write them; without a folder nothing is written.

    ``what`` names all that the tables depend on. A file is written as a whole or not at all. Raises
    ``SystemExit`` if the file belongs to another ``what``.
    """
    if folder is None:
        return make()
    path, digest = folder / f"{name}.npz", hashlib.sha256(what.encode()).hexdigest()
    if path.exists():
        with np.load(path) as kept:
            if str(kept["what"]) != digest:
                raise SystemExit(f"{path} is of another study: its options, packages or base differ.")
            return Tables(
                *(Table(kept[f"{part}_log_probs"], kept[f"{part}_labels"]) for part in Tables._fields)
            )
    made = make()
    arrays = {f"{part}_log_probs": table.log_probs for part, table in made._asdict().items()}
    arrays |= {f"{part}_labels": table.labels for part, table in made._asdict().items()}
    content = io.BytesIO()
    np.savez(content, what=np.array(digest), **arrays)
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(path, content.getvalue())
    return made

"""The tables of a task in a folder, so that what was trained and asked is not trained and asked again."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from vote.findings import Table, Tables

from populace.storage.records.files import write_durably


def kept_or_made(folder: Path | None, name: str, what: str, make: Callable[[], Tables]) -> Tables:
    """Read a task's tables, or make and keep them; without a folder nothing is kept.

    ``what`` says all that they depend on. A file is whole or is not there. Ends the program if the file is of
    something else.
    """
    if folder is None:
        return make()
    path, digest = folder / f"{name}.npz", hashlib.sha256(what.encode()).hexdigest()
    if path.exists():
        with np.load(path) as kept:
            if str(kept["what"]) != digest:
                raise SystemExit(f"{path} is of another study: other options, packages or base")
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

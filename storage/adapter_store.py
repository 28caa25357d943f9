"""The adapters of a store, together with what an adapter must fit to be served from there."""

from pathlib import Path
from typing import NamedTuple

from populace.storage.revisions import RevisionFiles
from populace.storage.store import Store


class AdapterStore(NamedTuple):
    """The adapters of a store. Each one fits the base of this fingerprint and has at most ``rank_max``."""

    data_directory: Path
    base_directory: Path
    fingerprint: str
    rank_max: int

    def files(self) -> RevisionFiles:
        """Return the files of the adapters. Raises as ``Store.adapters`` does."""
        return Store.adapters(self.data_directory)

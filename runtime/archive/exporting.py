"""Exports a model of a population to an archive."""

from collections.abc import Callable
from typing import BinaryIO

from populace.archive.writing import write_archive
from populace.storage.revisions import RevisionFiles
from populace.storage.rows.portable import PortableModel


def export_archive(
    file: BinaryIO, name: str, adapters: RevisionFiles, read: Callable[[], PortableModel]
) -> None:
    """Write the archive of the model that ``read`` returns to an empty file. Blocks.

    Its adapters are protected from removal meanwhile, also if the model is erased after it was read.
    Raises what ``read`` raises, and ``RecordInvalid`` and ``StoreInvalid`` if the store is damaged.
    """
    with adapters.adding():
        write_archive(file, name, read(), adapters)

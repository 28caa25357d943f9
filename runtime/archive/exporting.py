"""Exports a model of a population to an archive."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from populace.archive.writing import write_archive
from populace.storage.rows.portable import PortableModel
from populace.storage.store import Store


def export_archive(
    file: BinaryIO, name: str, data_directory: Path, read: Callable[[], PortableModel]
) -> None:
    """Write the archive of the model that ``read`` returns to an empty file. Blocks.

    Its adapters are protected from removal meanwhile, also if the model is erased after it was read.
    Raises what ``read`` raises, and ``RecordInvalid`` and ``StoreInvalid`` if the store is damaged.
    """
    adapters = Store.adapters(data_directory)
    with adapters.adding():
        write_archive(file, name, read(), adapters)

"""From a PEFT directory of a user to an immutable revision in the store's files."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from populace.actors.hosts import Revision
from populace.adapters.base_modules import read_base_modules
from populace.adapters.peft_directory import read_peft_directory
from populace.storage.store import Store


@contextmanager
def imported_adapter(
    adapter: Path, store_path: Path, base_directory: Path, fingerprint: str, *, rank_max: int, now_ms: int
) -> Generator[Revision]:
    """Check the adapter against the base, then copy it under its digest.

    It is safe from removal for the time of the block, in which a model must get it. Raises
    ``AdapterInvalid`` and ``AdapterMismatch``; nothing is stored then.
    """
    checked = read_peft_directory(adapter, read_base_modules(base_directory, fingerprint), rank_max=rank_max)
    files = Store.adapters(store_path)
    with files.adding():
        digest, size = files.add(checked.config_bytes, checked.tensor_file)
        yield Revision(
            digest=digest,
            base=fingerprint,
            method="imported",
            parent=None,
            rank=checked.rank,
            adapter_bytes=size,
            created_ms=now_ms,
        )

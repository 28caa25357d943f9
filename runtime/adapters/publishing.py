"""From a PEFT directory of a user to an immutable revision in the store's files."""

from pathlib import Path

from populace.actors.hosts import Revision
from populace.adapters.base_modules import read_base_modules
from populace.adapters.peft_directory import read_peft_directory
from populace.storage.store import Store


def import_adapter(
    adapter: Path, store_path: Path, base_directory: Path, fingerprint: str, *, rank_max: int, now_ms: int
) -> Revision:
    """Check the adapter against the base, then copy it under its digest; nothing refers to it yet.

    Raises ``AdapterInvalid`` and ``AdapterMismatch``; nothing is stored then.
    """
    checked = read_peft_directory(adapter, read_base_modules(base_directory, fingerprint), rank_max=rank_max)
    digest, size = Store.open(store_path).revisions.add(checked.config_bytes, checked.tensor_file)
    return Revision(
        digest=digest,
        base=fingerprint,
        method="imported",
        parent=None,
        rank=checked.rank,
        adapter_bytes=size,
        created_ms=now_ms,
    )

"""Publishes a user's adapter as an immutable revision in the store's files."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from populace.actors.errors import AdapterInvalid
from populace.actors.hosts import Revision
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import pack_peft_adapter, read_adapter, unpack_to_peft_directory
from populace.adapters.peft_directory import read_peft_directory
from populace.storage.adapter_store import AdapterStore
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.records.files import disk_named
from populace.storage.revisions import RevisionFiles


@contextmanager
def imported_adapter(adapter: Path, store: AdapterStore, *, now_ms: int) -> Generator[Revision]:
    """Check a PEFT directory or packed file against the base, then store it packed under its digest.

    The sweep does not remove it during the block; a model must refer to it by the end of it. Raises
    ``AdapterInvalid``, ``AdapterMismatch`` and ``DiskRefused``; nothing is stored then.
    """
    base = read_base_modules(store.base_directory, store.fingerprint)
    files = store.files()
    packed, rank = _checked(adapter.absolute(), base, store.rank_max, files)
    with files.adding():
        with disk_named(files.root):
            digest, size = files.add(packed)
        yield Revision(
            digest=digest,
            base=store.fingerprint,
            method="imported",
            parent=None,
            rank=rank,
            adapter_bytes=size,
            created_ms=now_ms,
        )


def _checked(path: Path, base: BaseModules, rank_max: int, files: RevisionFiles) -> tuple[bytearray, int]:
    """Return the adapter packed for this base, and its rank."""
    if path.is_dir():
        checked = read_peft_directory(path, base, rank_max=rank_max)
        return pack_peft_adapter(checked, base), checked.rank
    given = read_adapter(path, base, rank_max=rank_max)
    # Exports are PEFT files, so only an adapter that survives the conversion to them and back is stored.
    # They are among the adapters meanwhile, from where a sweep removes what a killed process left.
    with files.adding(), files.incoming() as folder:
        unpack_to_peft_directory(given, folder)
        checked = read_peft_directory(folder, base, rank_max=rank_max)
        again = pack_peft_adapter(checked, BaseModules(base.linears, given.base))
        if PackedAdapter(memoryview(again)).digest != given.digest:
            raise AdapterInvalid("its matrices or their scaling are not what its adapter_config.json says")
        return again if given.base == base.fingerprint else pack_peft_adapter(checked, base), checked.rank

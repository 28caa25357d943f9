"""Which memory module a base is served with: the one that is named, or the one that Populace ships for it."""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from populace.adapters.memory.header import check_file

NONE = "none"
"""Named so, the base is served without a memory."""

SHIPPED = Path(__file__).parent / "adapters" / "memory" / "shipped"
"""One file for each base that there is one for, under the base's fingerprint."""


class MemoryModuleFile(NamedTuple):
    """A module's file and its digest."""

    path: Path
    digest: str


def find_memory_module(named: str | None, base: str) -> MemoryModuleFile | None:
    """Find the module for the base with this fingerprint; None: it has no memory.

    Raises ``MemoryModuleInvalid`` and ``MemoryModuleMismatch`` for one that was named and cannot be used.
    """
    if named == NONE:
        return None
    path = SHIPPED / f"{base}.safetensors" if named is None else Path(named).expanduser().absolute()
    if named is None and not path.exists():
        return None
    check_file(path, base)
    return MemoryModuleFile(path, sha256(path.read_bytes()).hexdigest())

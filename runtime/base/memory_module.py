"""Finds the memory module that a base is served with: the one asked for, or by default a shipped one.

Populace ships a module for its default base. A shipped module is attached by default once it is measured not
to change replies that need no memory (``docs/measurements/2026-11-27-memory-module.md``); another base has
none unless one is named.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from populace.actors.errors import MemoryModuleInvalid
from populace.adapters.memory.header import check_file, read_states
from populace.adapters.memory.state import StateFormat

NONE = "none"
"""Name that serves the base without a memory."""

SHIPPED = "shipped"
"""Name of the module that Populace ships for the base. A file of that name is ``./shipped``."""

SHIPPED_FOLDER = Path(__file__).parent.parent / "adapters" / "memory" / "shipped"
"""Folder of the shipped modules: one file for each such base, named by the base's fingerprint."""

ATTACHED_BY_DEFAULT = frozenset({"a17b310a42b1a02f185caf6a0006055d4f1a633f3047d530b3d57c184eca1523"})
"""The shipped modules, by the SHA-256 of their files, that are used if the settings name no module."""


class MemoryModuleFile(NamedTuple):
    """A module's file, its digest, and the format of its states."""

    path: Path
    digest: str
    states: StateFormat


def find_memory_module(named: str | None, base: str) -> MemoryModuleFile | None:
    """Find the module for the base with this fingerprint; returns None for a base without a memory.

    Raises ``MemoryModuleInvalid`` and ``MemoryModuleMismatch`` if the named module cannot be used.
    """
    if named == NONE:
        return None
    if named is not None and named != SHIPPED:
        return _checked(Path(named).expanduser().absolute(), base)
    path = SHIPPED_FOLDER / f"{base}.safetensors"
    if named == SHIPPED:
        if not path.exists():
            raise MemoryModuleInvalid("none is shipped for this base; name the file of one, or none")
        return _checked(path, base)
    if not path.exists() or module_digest(path) not in ATTACHED_BY_DEFAULT:
        return None
    return _checked(path, base)


def _checked(path: Path, base: str) -> MemoryModuleFile:
    header, digest = check_file(path, base), module_digest(path)
    return MemoryModuleFile(path, digest, read_states(header, digest))


def module_digest(path: Path) -> str:
    """Return the SHA-256 of a module's file, which names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What a memory module's file says of itself. Read without torch, before anything heavy is started."""

import json
from pathlib import Path
from typing import cast

from populace.actors.errors import MemoryModuleInvalid, MemoryModuleMismatch

FORMATS = ("populace-memory-1", "populace-memory-4")
"""The second has gates. Who knows the first alone would read and write everywhere."""

EARLIER_FORMATS = ("populace-memory-2", "populace-memory-3")
"""Gated modules with other parts than those of today; refused."""

METADATA_KEY = "populace"
HEADER_BYTES_MAX = 1 << 20


def told_of(data: bytes) -> dict[str, object]:
    """Read the header: 8 bytes of length, then JSON with our entry. Raises ``MemoryModuleInvalid``."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        told = json.loads(header["__metadata__"][METADATA_KEY])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise MemoryModuleInvalid("it is no memory module, or truncated") from error
    told = cast("dict[str, object]", told) if isinstance(told, dict) else {}
    if told.get("format") in EARLIER_FORMATS:
        raise MemoryModuleInvalid(
            "it is a gated module of an earlier version, which cannot be used any more: train it again "
            "(docs/memory.md, Training a module)"
        )
    if told.get("format") not in FORMATS:
        raise MemoryModuleInvalid(f"its format is none of {', '.join(FORMATS)}")
    return told


def check_base(told: dict[str, object], base: str) -> None:
    """Raise ``MemoryModuleMismatch`` unless the module is for the base with this fingerprint."""
    if told.get("base") != base:
        raise MemoryModuleMismatch(f"it is for the base {str(told.get('base'))[:80]}, not {base}")


def check_file(path: Path, base: str) -> None:
    """Check what the file says of itself. Raises ``MemoryModuleInvalid`` and ``MemoryModuleMismatch``."""
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES_MAX)
    except OSError as error:
        raise MemoryModuleInvalid(f"{path} cannot be read ({error.strerror})") from error
    check_base(told_of(data), base)

"""Reads the metadata of a memory module's file without torch, before a heavy process is started."""

import json
from pathlib import Path
from typing import Any, cast

from populace.actors.errors import MemoryModuleInvalid, MemoryModuleMismatch
from populace.adapters.memory.state import StateFormat

FORMATS = ("populace-memory-1", "populace-memory-4")
"""The formats of modules without and with gates. They differ so that no old reader ignores the gates."""

EARLIER_FORMATS = ("populace-memory-2", "populace-memory-3")
"""Earlier formats of gated modules, with other tensors; they are refused."""

METADATA_KEY = "populace"
HEADER_BYTES_MAX = 1 << 20


def read_metadata(data: bytes) -> dict[str, object]:
    """Return our metadata from the start of a file: ``format``, ``base`` (its fingerprint) and ``shape``.

    ``data`` begins with 8 bytes of length and the JSON header. Raises ``MemoryModuleInvalid`` for other data
    and for earlier formats.
    """
    try:
        loaded = json.loads(_header(data)["__metadata__"][METADATA_KEY])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise MemoryModuleInvalid("it is no memory module, or truncated") from error
    metadata = cast("dict[str, object]", loaded) if isinstance(loaded, dict) else {}
    if metadata.get("format") in EARLIER_FORMATS:
        raise MemoryModuleInvalid(
            "it is a gated module of an earlier version, which cannot be used any more: train it again "
            "(docs/memory.md, Training a module)"
        )
    if metadata.get("format") not in FORMATS:
        raise MemoryModuleInvalid(f"its format is none of {', '.join(FORMATS)}")
    return metadata


def check_base(metadata: dict[str, object], base: str) -> None:
    """Raise ``MemoryModuleMismatch`` unless the module is for the base with this fingerprint."""
    if metadata.get("base") != base:
        raise MemoryModuleMismatch(f"it is for the base {str(metadata.get('base'))[:80]}, not {base}")


def read_states(data: bytes, digest: str) -> StateFormat:
    """Return the format of the states of the module with this digest, whose file begins with ``data``.

    Raises ``MemoryModuleInvalid``.
    """
    shape = read_metadata(data).get("shape")
    layers = {name.split(".")[1] for name in _header(data) if name.startswith("layers.")}
    try:
        fields = cast("dict[str, int]", shape)
        return StateFormat(digest, len(layers), fields["states"], fields["rank"])
    except (KeyError, TypeError) as error:
        raise MemoryModuleInvalid("its metadata has no valid shape") from error


def _header(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def check_file(path: Path, base: str) -> bytes:
    """Check that the file is a memory module for the base with the fingerprint ``base``; return its header.

    Raises ``MemoryModuleInvalid`` and ``MemoryModuleMismatch``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES_MAX)
    except OSError as error:
        raise MemoryModuleInvalid(f"{path} cannot be read ({error.strerror})") from error
    check_base(read_metadata(data), base)
    return data

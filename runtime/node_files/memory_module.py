"""The memory module on a node: where it is already, or fetched into the node's cache."""

import tempfile
from pathlib import Path

from populace.actors.errors import MemoryModuleInvalid
from populace.base.memory_module import SHIPPED_FOLDER, module_digest
from populace.node_files.fetching import Fetching, FileGone
from populace.node_files.pieces import Wanted

FOLDER = "memory-modules"


def find_here(digest: str, base: str, path: Path | None, cache: Path) -> Path | None:
    """Return the file of the module with this digest on this node, None if there is none.

    It may be ``path``, one that Populace ships for the base with this fingerprint, or in the cache.
    """
    for candidate in (path, SHIPPED_FOLDER / f"{base}.safetensors", kept_file(digest, cache)):
        if candidate is not None and candidate.is_file() and module_digest(candidate) == digest:
            return candidate
    return None


def kept_file(digest: str, cache: Path) -> Path:
    """Return where the cache keeps a module that came from another machine, whether or not it is there."""
    return cache / FOLDER / f"{digest}.safetensors"


def node_memory_module(digest: str, base: str, path: Path, cache: Path, fetching: Fetching) -> Path:
    """Return the file of the module with this digest on this node; fetch it if there is none.

    ``base`` is the fingerprint of its base, by which Populace ships one. Raises ``MemoryModuleInvalid`` if no
    host has it or it cannot be kept, and ``EngineUnavailable`` if the hosts do not answer.
    """
    if (found := find_here(digest, base, path, cache)) is not None:
        return found
    kept = kept_file(digest, cache)
    wanted = Wanted("memory module", digest)
    files = fetching.files(wanted)
    if files is None or len(files) != 1:
        raise MemoryModuleInvalid(f"neither this node nor a host has the one with the digest {digest[:12]}…")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=kept.parent) as folder:
            part = Path(folder) / kept.name
            fetching.save(wanted, files[0], part)
            if module_digest(part) != digest:
                raise MemoryModuleInvalid("what a host sent is not it: its digest is another one")
            part.replace(kept)
    except FileGone as error:
        raise MemoryModuleInvalid("the hosts lost its file while it was fetched") from error
    except OSError as error:
        raise MemoryModuleInvalid(
            f"it cannot be kept in {kept.parent} ({error.strerror}); POPULACE_CACHE names another directory"
        ) from error
    return kept

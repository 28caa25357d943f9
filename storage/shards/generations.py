"""The generations of a shard's file: a compaction writes a new one, and one durable write makes it current.

LMDB reuses freed pages but never returns them to the file system, and deleted rows stay readable in them.

On disk::

    shards/0003/current              the name of the generation that is the shard, and a newline
    shards/0003/<generation>/        16 hex digits, never used twice: an LMDB environment
    shards/.0003.<generation>/       what a crash left of a shard that was being made

A copy gets a directory of its own because LMDB numbers its transactions anew: beside the lock
table of the former file, a stopped reader's old number would read as a future one. A shard is
made under another name and renamed as a whole, so a directory without ``current`` is a damaged
shard, and an error; only an absent or empty one can become a fresh shard.
Schema 1 had the environment in ``shards/0003`` itself; it is found there and compacted out of it.
"""

import errno
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from populace.storage.records.errors import StoreInvalid
from populace.storage.records.files import sync_directory, sync_file, write_durably

CURRENT_FILE = "current"
DATA_FILE = "data.mdb"

_LOCK_FILE = "lock.mdb"
_READER_BYTES = 64
_NAME_PATTERN = re.compile(r"[0-9a-f]{16}")


def locate(path: Path) -> Path | None:
    """Return the directory of the shard's environment; None if ``path`` is absent or empty.

    This is ``path`` itself for a shard of schema 1. Raises ``StoreInvalid`` if there was a shard that is
    not whole any more.
    """
    try:
        name = (path / CURRENT_FILE).read_text(encoding="ascii").removesuffix("\n")
    except FileNotFoundError:
        found = {entry.name for entry in path.iterdir()} if path.is_dir() else set[str]()
        if not found:
            return None
        if DATA_FILE not in found:
            raise StoreInvalid(str(path), f"it has files, but no {CURRENT_FILE!r} says which") from None
        generation = path
    except (OSError, UnicodeDecodeError) as error:
        raise StoreInvalid(str(path), f"{CURRENT_FILE!r} cannot be read: {error}") from error
    else:
        if _NAME_PATTERN.fullmatch(name) is None:
            raise StoreInvalid(str(path), f"{CURRENT_FILE!r} names {name[:80]!r}, which is no generation")
        generation = path / name
    # LMDB would turn an empty file into a fresh environment.
    data = generation / DATA_FILE
    if not data.is_file() or data.stat().st_size == 0:
        raise StoreInvalid(str(path), f"{data.relative_to(path)} is missing or empty; restore a backup")
    return generation


def create(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the shard ``path`` with one generation, which ``fill`` writes; an existing shard is left alone."""
    made = path.with_name(f".{path.name}.{_new_name()}")
    generation = made / _new_name()
    generation.mkdir(parents=True)
    try:
        fill(generation)
        sync_generation(generation)
        point(made, generation)
        # The target must be absent or empty, so only one of two concurrent makers of a shard succeeds.
        try:
            made.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        sync_directory(path.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if locate(path) is None:
        raise StoreInvalid(str(path), "it cannot be made")


def add(path: Path) -> Path:
    """Make an empty directory for the next generation."""
    generation = path / _new_name()
    generation.mkdir()
    return generation


def reserve_lock(generation: Path, readers_max: int) -> None:
    """Give LMDB's lock file its blocks before it is made.

    LMDB maps it, and a write to mapped memory that finds no room on the disk kills the process
    (SIGBUS). An existing lock file has its blocks and is not opened here, since it may be in use: closing
    a file releases the locks that the process holds on it.
    """
    path = generation / _LOCK_FILE
    if path.exists():
        return
    try:
        with path.open("xb") as file:
            # Without LMDB's header: a file longer than LMDB's own would mean more readers.
            file.write(bytes((readers_max - 1) * _READER_BYTES))
    except FileExistsError:  # another process was faster
        return
    except OSError:
        path.unlink(missing_ok=True)
        raise


def sync_generation(generation: Path) -> None:
    """Make a copy durable, so that ``point`` may name it."""
    sync_file(generation / DATA_FILE)
    sync_directory(generation)
    sync_directory(generation.parent)


def point(path: Path, generation: Path) -> None:
    """Make the generation current. After a crash the current one is the former or this one.

    Call it as the owner, under the writer lock of the former generation.
    """
    write_durably(path / CURRENT_FILE, generation.name.encode() + b"\n")


def sweep(path: Path, current: Path) -> None:
    """Remove the remains of crashes and compactions beside ``current``.

    Call it under the writer lock of ``current``, while ``locate`` returns it: without that lock the next
    owner's file might be removed.
    """
    kept = {CURRENT_FILE, current.name} if current != path else {CURRENT_FILE, DATA_FILE, _LOCK_FILE}
    left = [entry for entry in path.iterdir() if entry.name not in kept]
    if not left:
        return
    if current != path:
        # A swap may have been interrupted: its name is visible, but perhaps not on disk yet.
        try:
            point(path, current)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # The remains may be what fills the disk. The name has its content, or it would not be visible.
            sync_directory(path)
    for entry in left:
        discard(entry)


def discard(entry: Path) -> None:
    """Remove a generation, or a file of one; what cannot be removed is left to a later sweep."""
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def retire(path: Path, former: Path) -> None:
    """Remove the former generation, which ``current`` does not name any more."""
    if former != path:
        discard(former)
        return
    for name in (DATA_FILE, _LOCK_FILE):
        discard(path / name)


def sweep_unmade(shards: Path) -> None:
    """Remove unfinished shards that crashes left. No shard may be being made meanwhile."""
    for entry in shards.glob(".*.*"):
        discard(entry)


def _new_name() -> str:
    # Random and not counted: a stopped owner may hold a directory of any earlier number.
    return secrets.token_hex(8)

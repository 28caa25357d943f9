"""Which file is the shard: a compaction writes a new one, and one durable write makes it current.

LMDB reuses freed pages but never gives them back, and what was deleted stays readable in them.

On disk::

    shards/0003/current              the name of the generation that is the shard, and a newline
    shards/0003/<generation>/        16 hex digits, never used twice: an LMDB environment
    shards/.0003.<generation>/       what a crash left of a shard that was being made

A copy gets a directory of its own because LMDB numbers its transactions anew: beside the lock
table of the former file, a stopped reader's old number would read as a future one. A shard is
made under another name and renamed as a whole, so a directory without ``current`` is a shard
that lost something, and an error; only one that is absent or empty can become a fresh shard.
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

    The answer is ``path`` itself for a shard of schema 1. Raises ``StoreInvalid`` where something
    was and is not whole any more.
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
    # LMDB would make a fresh environment of an empty file.
    data = generation / DATA_FILE
    if not data.is_file() or data.stat().st_size == 0:
        raise StoreInvalid(str(path), f"{data.relative_to(path)} is missing or empty; restore a backup")
    return generation


def create(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the shard ``path`` of one generation, which ``fill`` writes; leaves one that exists alone."""
    made = path.with_name(f".{path.name}.{_new_name()}")
    generation = made / _new_name()
    generation.mkdir(parents=True)
    try:
        fill(generation)
        sync_generation(generation)
        point(made, generation)
        # Onto a directory that is absent or empty; whoever makes the same shard at once loses here.
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

    LMDB writes to it as to memory, and a write to memory that finds no room on the disk ends the
    process (SIGBUS). One that exists has its blocks, and may be open: closing a file gives up the
    locks that the process holds on it.
    """
    path = generation / _LOCK_FILE
    if path.exists():
        return
    try:
        with path.open("xb") as file:
            # LMDB's header comes on top: a file that is longer than LMDB's own would mean more readers.
            file.write(bytes((readers_max - 1) * _READER_BYTES))
    except FileExistsError:  # another process was faster
        return
    except OSError:
        path.unlink(missing_ok=True)
        raise


def sync_generation(generation: Path) -> None:
    """Make a copy durable: ``point`` may name it from then on."""
    sync_file(generation / DATA_FILE)
    sync_directory(generation)
    sync_directory(generation.parent)


def point(path: Path, generation: Path) -> None:
    """Make the generation the shard. After a crash the former one is it, or this one.

    Call it under the writer lock of the former one, as the owner.
    """
    write_durably(path / CURRENT_FILE, generation.name.encode() + b"\n")


def sweep(path: Path, current: Path) -> None:
    """Remove what crashes and compactions left beside ``current``.

    Call it under the writer lock of ``current``, while ``locate`` answers it: without that lock
    the next owner's file might be among what is removed.
    """
    kept = {CURRENT_FILE, current.name} if current != path else {CURRENT_FILE, DATA_FILE, _LOCK_FILE}
    left = [entry for entry in path.iterdir() if entry.name not in kept]
    if not left:
        return
    if current != path:
        # A swap may have been cut short: its name is visible, but perhaps not on disk yet.
        try:
            point(path, current)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # What is left may be what fills the disk. The name has its content, or it would not be seen.
            sync_directory(path)
    for entry in left:
        discard(entry)


def discard(entry: Path) -> None:
    """Remove a generation, or a file of one; what cannot be removed is swept later."""
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def retire(path: Path, former: Path) -> None:
    """Remove the generation that ``current`` does not name any more."""
    if former != path:
        discard(former)
        return
    for name in (DATA_FILE, _LOCK_FILE):
        discard(path / name)


def sweep_unmade(shards: Path) -> None:
    """Remove what crashes left of shards that were being made. Nobody may be making one."""
    for entry in shards.glob(".*.*"):
        discard(entry)


def _new_name() -> str:
    # Random and not counted: a stopped owner may hold the directory of any number that was used.
    return secrets.token_hex(8)

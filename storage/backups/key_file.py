"""The key file, which opens all backups of a store, is kept apart from them and replaced by each one.

It holds the master key and the wrapped data keys of the existing models, and names the erasures. An erased
model is not in the next key file, so that nothing opens its data in older backups. Models are named by the
random ids of their data keys.

On disk, frames (``storage/streams/frames.py``)::

    "populace-keys", version, store id, shards, master key as in its own file, created (ms)
    for each shard     "shard", number
        for each model     "key", data key id, wrapped data key
        for each erasure   "erased", data key id, ErasureRecord
    "end", SHA-256 of everything before
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from populace.storage.backups.errors import KeyFileRefused
from populace.storage.records.files import disk_named, is_at, sync_directory
from populace.storage.records.master_key import MasterKey
from populace.storage.records.records import DataKeyRecord
from populace.storage.streams.frames import Frame, FrameWriter, pack, read_frames

FORMAT = "populace-keys"
VERSION = 1

_END_BYTES = len(pack("end", bytes(32)))
_READ_BYTES = 1 << 20


class ShardKeys(NamedTuple):
    """One shard's part of the file: ``wrapped`` and ``erased`` map data key ids to the stored values."""

    number: int
    wrapped: dict[bytes, bytes]
    erased: dict[bytes, bytes]


class KeyFileWriter:
    """Writes the keys and erasures of one shard after the other. Raises ``DiskRefused``."""

    def __init__(self, path: Path, frames: FrameWriter) -> None:
        """Use ``replacing``."""
        self._path = path
        self._frames = frames

    def begin_shard(self, number: int) -> None:
        self._write("shard", number)

    def add_key(self, record: DataKeyRecord) -> None:
        self._write("key", record.key_id, record.wrapped)

    def add_erasure(self, key_id: bytes, record: bytes) -> None:
        self._write("erased", key_id, record)

    def _write(self, *frame: str | bytes | int) -> None:
        with disk_named(self._path):
            self._frames.write(*frame)


class KeyFile:
    """A key file that was read to its end once and found whole."""

    def __init__(self, path: Path, store_id: str, shards: int, master_key: MasterKey) -> None:
        """Use ``KeyFile.load``."""
        self.path = path
        self.store_id = store_id
        self.shards = shards
        self.master_key = master_key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the head, and check that the file is whole. Raises ``KeyFileRefused``."""
        _check_whole(path)
        match next(read_frames(path, KeyFileRefused), ()):
            case (str(tag), int(version), *_) if tag == FORMAT and version > VERSION:
                reason = f"it has version {version}, and this release reads up to {VERSION}"
                raise KeyFileRefused(str(path), reason)
            case (str(tag), int(), str(store_id), int(shards), bytes(line), int()) if tag == FORMAT:
                master_key = MasterKey.decode(line)
            case _:
                raise KeyFileRefused(str(path), "it is not a key file of backups")
        if master_key is None:
            raise KeyFileRefused(str(path), "it does not hold a master key")
        return cls(path, store_id, shards, master_key)

    def read_shards(self) -> Iterator[ShardKeys]:
        """Yield the keys of each shard, in order, one at a time. Raises ``KeyFileRefused``."""
        found: ShardKeys | None = None
        for frame in read_frames(self.path, KeyFileRefused):
            match frame:
                case ("shard" | "end", _):
                    if found is not None:
                        yield found
                    found = ShardKeys(frame[1], {}, {}) if isinstance(frame[1], int) else None
                case ("key", bytes(key_id), bytes(wrapped)) if found is not None:
                    found.wrapped[key_id] = wrapped
                case ("erased", bytes(key_id), bytes(record)) if found is not None:
                    found.erased[key_id] = record
                case _:
                    _refuse_unknown(self.path, frame)


@contextlib.contextmanager
def replacing(
    path: Path, store_id: str, shards: int, master_key: MasterKey, *, now_ms: int
) -> Generator[KeyFileWriter]:
    """Write the key file of a store anew; it takes the place of the former one when the block ends.

    If the block raises, the former file stays. Raises ``KeyFileRefused`` for a file that is no key file or of
    another store, which is left as it is, and ``DiskRefused``.
    """
    with disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not a random name: the rest of a crash holds keys, and must not outlive the next backup.
        temporary = path.with_name(f".{path.name}.tmp")
        descriptor = _locked_alone(temporary, path)
    with os.fdopen(descriptor, "wb") as file:
        try:
            _refuse_other(path, store_id, master_key)
            with disk_named(path):
                os.ftruncate(descriptor, 0)
            frames = FrameWriter(file)
            frames.write(FORMAT, VERSION, store_id, shards, master_key.encode(), now_ms)
            yield KeyFileWriter(path, frames)
            with disk_named(path):
                frames.write("end", frames.digest())
                frames.sync()
                temporary.replace(path)
                sync_directory(path.parent)
        except BaseException:
            if is_at(temporary, descriptor):
                temporary.unlink()
            raise


def _check_whole(path: Path) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            remaining = path.stat().st_size - _END_BYTES
            while remaining > 0 and (data := file.read(min(remaining, _READ_BYTES))):
                digest.update(data)
                remaining -= len(data)
            end = file.read()
    except OSError as error:
        raise KeyFileRefused(str(path), f"it cannot be read: {error.strerror}") from error
    if end != pack("end", digest.digest()):
        raise KeyFileRefused(str(path), "it is not a key file of backups, or it is damaged")


def _refuse_other(path: Path, store_id: str, master_key: MasterKey) -> None:
    """Refuse to replace anything but the former key file of this store: that could lose other keys."""
    if not path.exists():
        return
    try:
        former = KeyFile.load(path)
    except KeyFileRefused as error:
        raise KeyFileRefused(str(path), f"{error.reason}; it is not replaced, so name another") from error
    if (former.store_id, former.master_key.key_id) != (store_id, master_key.key_id):
        raise KeyFileRefused(str(path), "it opens the backups of another store and is not replaced")


def _refuse_unknown(path: Path, frame: Frame) -> None:
    if frame[:1] != (FORMAT,):
        raise KeyFileRefused(str(path), "it has a part that this release does not know")


def _locked_alone(temporary: Path, path: Path) -> int:
    """Open the file, readable for its owner only, and lock it until the descriptor is closed."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise KeyFileRefused(str(path), "another backup is writing it just now") from None
        if is_at(temporary, descriptor):
            # It may have existed, made with other permissions.
            os.fchmod(descriptor, 0o600)
            return descriptor
        os.close(descriptor)

"""One shard of a backup: its models, each sealed as a whole with a key derived from its data key.

On disk, frames (``storage/streams/frames.py``)::

    for each model   "model", data key id, and a sealed stream (``storage/streams/sealed_stream.py``) of
                         "adapter", digest, name in the backup, content key     for each of its adapters
                         "row", key, value as in the shard                      for each of its rows
    for each API key, tenant and erasure, and the time that the shard was served
                     "row", key, value as in the shard
    "end", models

Values that the shard keeps sealed are sealed twice. So without its data key not even a model's name or
its numbers of rows are revealed; only the stream's length is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from populace.storage.backups.adapters import AdapterGrant
from populace.storage.backups.errors import BackupInvalid
from populace.storage.records import keys
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.master_key import derive_key
from populace.storage.records.record import RECORD_BYTES_MAX
from populace.storage.records.records import DataKeyRecord, IdentityRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.streams.frames import Frame, FrameWriter, pack, read_frames
from populace.storage.streams.sealed_stream import (
    CHUNK_BYTES,
    SealBroken,
    read_chunks,
    read_sealed,
    write_sealed,
)

Row = tuple[bytes, bytes]

_PURPOSE = b"populace backup 1: model"
_ITEM_BYTES_MAX = 2 * RECORD_BYTES_MAX + CHUNK_BYTES

_msgpack: Any = msgpack  # it ships no types


def count_models(txn: ReadTransaction) -> int:
    return sum(1 for _ in txn.scan(keys.all_identities()))


def data_keys(txn: ReadTransaction) -> Iterator[tuple[IdentityRecord, DataKeyRecord]]:
    """Walk the existing models. Raises ``RecordInvalid`` for a model that lost its data key."""
    for _, data in txn.scan(keys.all_identities()):
        identity = IdentityRecord.unpack(data)
        stored = txn.get(keys.data_key(identity.tenant, identity.name))
        if stored is None:
            raise RecordInvalid("data_key", f"it is missing for the model `{identity.name}`")
        yield identity, DataKeyRecord.unpack(stored)


def write_model(
    writer: FrameWriter,
    txn: ReadTransaction,
    identity: IdentityRecord,
    data_key: bytes,
    key_id: bytes,
    salt: bytes,
    put_adapter: Callable[[bytes], AdapterGrant | None],
) -> None:
    """Write one model; ``put_adapter`` is called with the digest of each of its adapters.

    One for which it returns None is left out.
    """
    tenant, name = identity.tenant, identity.name

    def pieces() -> Iterator[bytes]:
        revisions = keys.revisions(tenant, name)
        for key, _ in txn.scan(revisions):
            grant = put_adapter(key[len(revisions) :])
            if grant is not None:
                yield pack("adapter", *grant)
        for prefix in keys.model_prefixes(tenant, name):
            for key, value in txn.scan(prefix):
                yield pack("row", key, value)

    writer.write("model", key_id)
    write_sealed(writer, derive_key(data_key, salt, _PURPOSE), pieces())


def write_row(writer: FrameWriter, row: Row) -> None:
    """Write a row that belongs to no model."""
    writer.write("row", *row)


def write_end(writer: FrameWriter, models: int) -> None:
    writer.write("end", models)


class ShardReader:
    """Reads a shard of a backup. ``models`` and ``left_out`` count those that ``rows`` has passed so far."""

    def __init__(
        self,
        backup: Path,
        file: str,
        salt: bytes,
        *,
        data_key_of: Callable[[bytes], bytes | None],
        take_adapter: Callable[[AdapterGrant], None],
    ) -> None:
        """``data_key_of`` returns None for the id of a model that is left out."""
        self.models = 0
        self.left_out = 0
        self._backup = backup
        self._file = file
        self._salt = salt
        self._data_key_of = data_key_of
        self._take_adapter = take_adapter

    def rows(self) -> Iterator[Row]:
        """Walk the rows to restore, after the adapters of each model. Raises ``BackupInvalid``."""
        frames = read_frames(self._backup / self._file, BackupInvalid)
        ended = False
        try:
            for frame in frames:
                match frame:
                    case ("model", bytes(key_id)) if not ended:
                        yield from self._model(frames, self._data_key_of(key_id))
                    case ("row", bytes(key), bytes(value)) if not ended:
                        yield key, value
                    case ("end", int(models)) if not ended and models == self.models + self.left_out:
                        ended = True
                    case _:
                        raise self._damaged("it has a part that is out of place")
        except SealBroken as error:
            raise self._damaged(str(error)) from error
        if not ended:
            raise self._damaged("its end is missing")

    def _model(self, frames: Iterator[Frame], data_key: bytes | None) -> Iterator[Row]:
        if data_key is None:
            self.left_out += 1
            for _ in read_chunks(frames):
                pass
            return
        self.models += 1
        unpacker = _msgpack.Unpacker(use_list=False, max_buffer_size=_ITEM_BYTES_MAX)
        for piece in read_sealed(frames, derive_key(data_key, self._salt, _PURPOSE)):
            unpacker.feed(piece)
            for item in unpacker:
                match item:
                    case ("row", bytes(key), bytes(value)):
                        yield key, value
                    case ("adapter", bytes(digest), bytes(name), bytes(key)):
                        self._take_adapter(AdapterGrant(digest, name, key))
                    case _:
                        raise self._damaged("a model has a part that this release does not know")

    def _damaged(self, reason: str) -> BackupInvalid:
        return BackupInvalid(str(self._backup), f"{self._file} is damaged: {reason}")

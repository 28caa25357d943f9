"""The adapters of a backup: each once, sealed with a key of its own that its models carry.

``adapters/<name>`` is a frame ``"packed"`` and the packed file as a sealed stream
(``storage/streams/sealed_stream.py``). One that is a directory in the store (``storage/revisions.py``) is
two sealed streams without that frame, as in every backup up to schema 3: the config, then the tensors.

Name and key come from a secret that is discarded once the backup is made, so only those who can open one of
the models that have the adapter can learn it or its digest.
"""

import itertools
import logging
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from populace.storage.backups.errors import BackupInvalid
from populace.storage.backups.manifest import ADAPTERS_DIRECTORY
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.records.errors import StoreInvalid
from populace.storage.records.master_key import KEY_BYTES, derive_key
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE, RevisionFiles
from populace.storage.streams.frames import Frame, FrameWriter, read_frames, writing
from populace.storage.streams.sealed_stream import SealBroken, read_sealed, write_sealed

logger = logging.getLogger(__name__)

_PACKED = "packed"
_NAME_BYTES = 16
_READ_BYTES = 1 << 20


class AdapterGrant(NamedTuple):
    """What a model's backup has of its adapter: the name in the backup, and the key."""

    digest: bytes
    name: bytes
    key: bytes


class AdapterWriter:
    """Writes adapters into a backup; ``add_sum`` is called with the digest and name of each file."""

    def __init__(
        self, backup: Path, salt: bytes, revisions: RevisionFiles, add_sum: Callable[[bytes, str], None]
    ) -> None:
        self.count = 0
        self.damaged: set[str] = set()
        self._backup = backup
        self._salt = salt
        self._revisions = revisions
        self._add_sum = add_sum
        # Names and keys are derived and not kept, as there may be as many adapters as models.
        self._secret = secrets.token_bytes(KEY_BYTES)

    def put(self, digest: bytes) -> AdapterGrant | None:
        """Write the adapter if it is new to the backup; None, and note it, if it is damaged or absent."""
        grant = AdapterGrant(
            digest, self._derive(b"name", digest)[:_NAME_BYTES], self._derive(b"key", digest)
        )
        file = adapter_file(grant)
        if not (self._backup / file).exists():
            try:
                self._revisions.verify(digest.hex())
            except StoreInvalid as error:
                logger.error("%s; the backup does not have it", error)  # noqa: TRY400 - not a bug
                self.damaged.add(digest.hex())
                return None
            with writing(self._backup / file) as writer:
                self._write(writer, grant, self._revisions.path(digest.hex()))
            self._add_sum(writer.digest(), file)
            self.count += 1
        return grant

    def _write(self, writer: FrameWriter, grant: AdapterGrant, path: Path) -> None:
        if path.is_dir():
            for part in (CONFIG_FILE, TENSORS_FILE):
                write_sealed(writer, _part_key(grant, self._salt, part), _pieces(path / part))
        else:
            writer.write(_PACKED)
            write_sealed(writer, _part_key(grant, self._salt, _PACKED), _pieces(path))

    def _derive(self, purpose: bytes, digest: bytes) -> bytes:
        return derive_key(self._secret, self._salt, b"populace backup 1: adapter " + purpose + digest)


def restore_adapter(backup: Path, salt: bytes, grant: AdapterGrant, revisions: RevisionFiles) -> bool:
    """Store the adapter durably unless it is there; return whether it was new. Raises ``BackupInvalid``."""
    if revisions.has(grant.digest.hex()):
        return False
    file = adapter_file(grant)
    frames = read_frames(backup / file, BackupInvalid)
    try:
        with tempfile.NamedTemporaryFile(dir=revisions.root.parent) as content:
            first = next(frames, None)
            if first == (_PACKED,):
                _unseal(frames, _part_key(grant, salt, _PACKED), content)
                config = None
            else:
                frames = itertools.chain(() if first is None else (first,), frames)
                config = b"".join(read_sealed(frames, _part_key(grant, salt, CONFIG_FILE)))
                _unseal(frames, _part_key(grant, salt, TENSORS_FILE), content)
            for _ in frames:
                raise BackupInvalid(str(backup), f"{file} is damaged: it goes on behind its end")
            path = Path(content.name)
            digest, _ = revisions.add(path) if config is None else revisions.add_directory(config, path)
    except (SealBroken, PackedAdapterInvalid, PackedAdapterVersionMismatch) as error:
        raise BackupInvalid(str(backup), f"{file} is damaged: {error}") from error
    if digest != grant.digest.hex():
        raise BackupInvalid(str(backup), f"{file} holds another adapter than its model has")
    return True


def adapter_file(grant: AdapterGrant) -> str:
    return f"{ADAPTERS_DIRECTORY}/{grant.name.hex()}"


def _part_key(grant: AdapterGrant, salt: bytes, part: str) -> bytes:
    return derive_key(grant.key, salt, b"populace backup 1: " + part.encode())


def _unseal(frames: Iterator[Frame], key: bytes, to: IO[bytes]) -> None:
    for piece in read_sealed(frames, key):
        to.write(piece)
    to.flush()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            yield data

"""The adapters of a store in its journal: objects by digest, there before a segment names them.

In a bucket::

    <store id>/adapters/<digest>/packed    a packed adapter, sealed (``storage/journal/sealed_object.py``)
    <store id>/adapters/<digest>/<file>    each file of an adapter that is a directory, up to schema 3
"""

import logging
from pathlib import Path

from populace.storage.journal.bucket import Bucket
from populace.storage.journal.errors import JournalDamaged
from populace.storage.journal.sealed_object import read_object, write_object
from populace.storage.journal.sealing import JournalSeal
from populace.storage.records.errors import StoreInvalid
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE, RevisionFiles

logger = logging.getLogger(__name__)

PIECE_BYTES = 2**20

_PACKED = "packed"


class JournalAdapters:
    """Copies adapters to the bucket and back. Safe from many threads at once."""

    def __init__(self, bucket: Bucket, seal: JournalSeal, store_id: str, files: RevisionFiles) -> None:
        self._bucket = bucket
        self._seal = seal
        self._folder = f"{store_id}/adapters"
        self._files = files

    def keep(self, digest: str) -> None:
        """See to it that the bucket has an adapter.

        One whose files are neither there nor here, or are damaged here, is left out, and named in the log.

        Another machine of this store may have brought it to the bucket without its being here. None is
        removed meanwhile: what is erased could come to the bucket after it was removed from there.
        """
        with self._files.adding():
            path = self._files.path(digest)
            files = [path / CONFIG_FILE, path / TENSORS_FILE] if path.is_dir() else [path]
            absent = [file for file in files if not self._bucket.has(self._name(digest, _name_of(file)))]
            if absent and not path.exists():
                if not self._bucket.has(self._name(digest, TENSORS_FILE)):
                    logger.warning("the adapter %s is neither here nor in the journal", digest)
                return
            if absent and not self._is_whole(digest):
                return
            for file in absent:
                with file.open("rb") as content:
                    pieces = iter(lambda: content.read(PIECE_BYTES), b"")
                    write_object(self._bucket, self._seal, self._name(digest, _name_of(file)), pieces)

    def _is_whole(self, digest: str) -> bool:
        try:
            self._files.verify(digest)
        except StoreInvalid as error:
            logger.error("%s; the journal does not get it", error)  # noqa: TRY400 - not a bug
            return False
        return True

    def fetch(self, digest: str) -> bool:
        """Store an adapter of the bucket here; return whether it is here now. Raises ``JournalDamaged``."""
        return self._files.has(digest) or self._take(digest)

    def mend(self, digest: str) -> bool:
        """Replace a packed adapter that is damaged here by that of the bucket; return whether there is one.

        Raises ``JournalDamaged``.
        """
        return self._take(digest, replaces=True)

    def _take(self, digest: str, *, replaces: bool = False) -> bool:
        # Among the adapters: what a kill leaves of it goes with the next removal, an erasure for example. One
        # that is being removed must not come back between the removals from disk and bucket.
        with self._files.adding(), self._files.incoming() as folder:
            packed, config, tensors = (folder / name for name in (_PACKED, CONFIG_FILE, TENSORS_FILE))
            if self._download(digest, _PACKED, packed):
                found, _ = self._files.add(packed, replaces=replaces)
            elif all(self._download(digest, file.name, file) for file in (config, tensors)):
                found, _ = self._files.add_directory(config.read_bytes(), tensors)
            else:
                return False
        if found != digest:
            raise JournalDamaged(self._name(digest, _PACKED), f"it is the adapter {found}")
        return True

    def remove(self, digest: str) -> None:
        self._bucket.remove([found.name for found in self._bucket.names(f"{self._folder}/{digest}")])

    def _download(self, digest: str, name: str, to: Path) -> bool:
        pieces = read_object(self._bucket, self._seal, self._name(digest, name))
        if pieces is None:
            return False
        with to.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        return True

    def _name(self, digest: str, name: str) -> str:
        return f"{self._folder}/{digest}/{name}"


def _name_of(file: Path) -> str:
    """Return the name in the bucket of a packed file, or of one of an adapter that is a directory."""
    return file.name if file.name in (CONFIG_FILE, TENSORS_FILE) else _PACKED

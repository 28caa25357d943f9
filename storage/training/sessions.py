"""The sessions of trainings, of interrupted and of kept ones: one encrypted file for each.

On disk a file is::

    nonce (12 bytes), AES-256-GCM of the session with the file's name as associated data

under the key in the row of the open job, and then in that of the promoted revision, which are sealed with the
model's data key: erasing the model destroys the session too, wherever a copy of it lies. The name is
BLAKE2b-128 of the key. A file's time of modification is that of its last use.
"""

import os
import secrets
from collections.abc import Collection
from hashlib import blake2b
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from populace.storage.records.errors import RecordInvalid
from populace.storage.records.files import disk_named, write_durably
from populace.storage.records.master_key import KEY_BYTES, NONCE_BYTES

DIRECTORY = "training"
SUFFIX = ".session"


def new_session_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


class SessionFiles:
    """The sessions of one store, a few megabytes each. ``root`` is created when it is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of_store(cls, path: Path) -> Self:
        return cls(path / DIRECTORY)

    def write(self, key: bytes, session: bytes) -> None:
        """Replace the session of this key, durably. Raises ``DiskRefused``; the older session stays then."""
        nonce = os.urandom(NONCE_BYTES)
        path = self.path(key)
        sealed = AESGCM(key).encrypt(nonce, session, path.name.encode())
        with disk_named(path):
            self.root.mkdir(exist_ok=True)
            write_durably(path, nonce + sealed, mode=0o600)

    def read(self, key: bytes) -> bytes | None:
        """Read the session of this key, None if there is none.

        Raises ``RecordInvalid`` and ``DiskRefused``.
        """
        path = self.path(key)
        with disk_named(path):
            if not path.exists():
                return None
            data = path.read_bytes()
        try:
            return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], path.name.encode())
        except (InvalidTag, ValueError) as error:
            raise RecordInvalid("training session", "its file was changed") from error

    def use(self, key: bytes) -> bytes | None:
        """Read as ``read`` does, and count this as a use: the budget drops it later than older ones."""
        session = self.read(key)
        if session is not None:
            with disk_named(self.path(key)):
                self.path(key).touch()
        return session

    def has(self, key: bytes) -> bool:
        return self.path(key).exists()

    def trim(self, keys: Collection[bytes], bytes_max: int) -> int:
        """Remove files of these keys, the longest unused first, until they fit; return how many."""
        found = [(path.stat(), path) for key in keys if (path := self.path(key)).exists()]
        total = sum(status.st_size for status, _ in found)
        dropped = 0
        for status, path in sorted(found, key=lambda one: (one[0].st_mtime_ns, one[1])):
            if total <= bytes_max:
                break
            path.unlink()
            total -= status.st_size
            dropped += 1
        return dropped

    def remove(self, key: bytes) -> None:
        self.path(key).unlink(missing_ok=True)

    def sweep(self, keys: Collection[bytes]) -> int:
        """Remove the files that none of these keys opens; return how many. Write no session meanwhile."""
        kept = {self.path(key).name for key in keys}
        others = [path for path in self.root.glob("*") if path.name not in kept] if self.root.is_dir() else []
        for path in others:
            path.unlink()
        return len(others)

    def path(self, key: bytes) -> Path:
        return self.root / f"{blake2b(key, digest_size=16).hexdigest()}{SUFFIX}"

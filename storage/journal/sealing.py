"""Seals the objects of a journal with keys that are derived from the store's master key.

Each object is bound to its name and store, so that one cannot stand in for another. Values that a shard
keeps sealed are sealed twice: without their person's data key, they stay unreadable also to whoever has the
master key.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from populace.storage.journal.errors import JournalDamaged
from populace.storage.records.master_key import NONCE_BYTES, MasterKey

_OBJECTS = b"populace journal 1: objects"
_STREAM = b"populace journal 1: stream"
SALT_BYTES = 16


class JournalSeal:
    """Seals the objects of one store's journal. Safe from many threads at once."""

    def __init__(self, master_key: MasterKey, store_id: str) -> None:
        self._master_key = master_key
        self._store_id = store_id.encode()
        self._cipher = AESGCM(master_key.derive(self._store_id, _OBJECTS))

    def seal(self, name: str, content: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, self._bound(name))

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises ``JournalDamaged`` for anything but what ``seal`` returned for this name."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._bound(name))
        except (InvalidTag, ValueError) as error:
            raise JournalDamaged(name, "it was changed, or sealed with another master key") from error

    def new_stream(self, name: str) -> tuple[bytes, bytes]:
        """Return a salt and the key that it gives one stream of this name."""
        salt = os.urandom(SALT_BYTES)
        return salt, self.stream_key(name, salt)

    def stream_key(self, name: str, salt: bytes) -> bytes:
        return self._master_key.derive(salt + self._bound(name), _STREAM)

    def _bound(self, name: str) -> bytes:
        return self._store_id + b"\0" + name.encode()

"""The master key, which wraps the data keys of all personal models.

On disk: one line of the tag, a space and 32 bytes in base64, readable by the owner only. It is stored
beside the shards unless the operator keeps it elsewhere. No backup holds it, but the key file of the
backups does. Without it nothing that people said can be decrypted.
"""

import base64
import binascii
import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from populace.storage.records.errors import MasterKeyRefused, RecordInvalid
from populace.storage.records.files import disk_named, sync_directory, sync_file, write_durably

MASTER_KEY_FILE = "master.key"
KEY_BYTES = 32
NONCE_BYTES = 12
LINE_BYTES_MAX = 1024
"""Much more than a line of a key has."""

_TAG = b"populace-master-key-1"


class MasterKey:
    """An AES-256-GCM key. ``key_id`` names it without revealing anything of it."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, len(key)
        self._key = key
        self._cipher = AESGCM(key)
        self.key_id = blake2b(key, digest_size=16, person=b"populace-master").hexdigest()

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def decode(cls, line: bytes) -> Self | None:
        """Decode a line of ``encode``; None for anything else."""
        tag, _, text = line.strip().partition(b" ")
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            return None
        return cls(key) if tag == _TAG and len(key) == KEY_BYTES else None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. Raises ``MasterKeyRefused`` if it is absent, unreadable or no master key."""
        try:
            if path.exists() and not path.is_file():
                # Reading a pipe or a device may never end.
                raise MasterKeyRefused(str(path), "it is not a file")
            with path.open("rb") as file:
                line = file.read(LINE_BYTES_MAX)
        except OSError as error:
            raise MasterKeyRefused(str(path), f"it cannot be read: {error.strerror}") from error
        key = cls.decode(line)
        if key is None:
            raise MasterKeyRefused(str(path), "it does not hold a master key")
        return key

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Read the file, or create it durably if it is absent. One process at a time may do this.

        Raises ``MasterKeyRefused`` and ``DiskRefused``.
        """
        if not path.exists():
            cls.generate().save(path)
        key = cls.load(path)
        with disk_named(path):
            # Also if it existed: the process that made it may have been killed before it was durable, and
            # the following writes rely on it.
            sync_file(path)
            sync_directory(path.parent)
        return key

    def save(self, path: Path) -> None:
        """Write the file durably, readable by its owner only. Raises ``DiskRefused``."""
        with disk_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, self.encode(), mode=0o600)

    def encode(self) -> bytes:
        return _TAG + b" " + base64.b64encode(self._key) + b"\n"

    def derive(self, salt: bytes, purpose: bytes) -> bytes:
        """Derive a key for another purpose, which reveals nothing of this one."""
        return derive_key(self._key, salt, purpose)

    def wrap(self, data_key: bytes, name: bytes) -> bytes:
        """Encrypt a data key for storage, bound to its public ``name``."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data_key, name)

    def unwrap(self, wrapped: bytes, name: bytes) -> bytes:
        """Decrypt a key of ``wrap`` under the same name. Raises ``RecordInvalid``."""
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], name)
        except (InvalidTag, ValueError) as error:
            raise RecordInvalid("data_key", "it is damaged, or of another master key") from error


def derive_key(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    """Derive a key from a secret for one purpose: HKDF-SHA256 (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt, purpose).derive(secret)

"""Messages about files between a node and a host, and how the pieces of a file are sealed."""

import os
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE_BYTES = 8 * 2**20
PACKED = "packed"
"""Name of the one file of a packed adapter, and of a memory module."""

_NONCE_BYTES = 12


class Wanted(NamedTuple):
    """What a node lacks: an adapter or a memory module by digest, or a base by its fingerprint."""

    kind: Literal["adapter", "base", "memory module"]
    digest: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.digest[:12]}…"


class SharedFile(NamedTuple):
    """A file of what is wanted. ``sha256`` None: the digest of the whole says what its bytes are."""

    name: str
    bytes: int
    sha256: str | None = None

    def piece_bytes(self, offset: int) -> int:
        """Return the size of the piece that begins at ``offset``."""
        return min(PIECE_BYTES, self.bytes - offset)


class PieceSeal:
    """Seals the pieces of one transfer with a key that only its two ends have.

    Ray passes large values through shared memory, which it does not clear, and through files when that is
    full. What it leaves there of an adapter nothing can read once the transfer is over, erased or not.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._cipher = AESGCM(key)

    @classmethod
    def new(cls) -> "PieceSeal":
        return cls(AESGCM.generate_key(256))

    def seal(self, wanted: Wanted, name: str, offset: int, piece: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, piece, _place(wanted, name, offset))

    def open(self, wanted: Wanted, name: str, offset: int, sealed: bytes) -> bytes | None:
        """Return the piece, None if it is not the one of this place."""
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, body, _place(wanted, name, offset))
        except (InvalidTag, ValueError):
            return None


def _place(wanted: Wanted, name: str, offset: int) -> bytes:
    return f"{wanted.kind} {wanted.digest} {offset} {name}".encode()

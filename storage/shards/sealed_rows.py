"""Transactions that decrypt sealed values when they are read and encrypt them when they are written."""

from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from populace.storage.records import keys
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.sealing import Sealing
from populace.storage.shards.rows import LmdbTransaction, Reader, Writer


class SealedReader(Reader):
    """Implements ``ReadTransaction``. A row that is not properly sealed raises ``RecordInvalid``."""

    def __init__(self, transaction: LmdbTransaction, sealing: Sealing) -> None:
        super().__init__(transaction)
        self._sealing = sealing
        self._ciphers: dict[bytes, AESGCM] = {}

    def get(self, key: bytes) -> bytes | None:
        value = super().get(key)
        return value if value is None or not keys.is_sealed(key) else self._opened(key, value)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        for key, value in super().scan(prefix, after=after, limit=limit):
            yield key, self._opened(key, value) if keys.is_sealed(key) else value

    def _opened(self, key: bytes, value: bytes) -> bytes:
        if self._sealing.leaves_plain(value):
            return value
        return self._sealing.open(self._cipher(key), key, value)

    def _cipher(self, key: bytes) -> AESGCM:
        """Return the cipher of the model that the row belongs to."""
        data_key = keys.data_key_of(key)
        cipher = self._ciphers.get(data_key)
        if cipher is None:
            stored = super().get(data_key)
            if stored is None:
                raise RecordInvalid("data_key", f"it is missing for a sealed {keys.kind_of(key)}")
            cipher = self._ciphers[data_key] = self._sealing.cipher(stored)
        return cipher


class SealedWriter(SealedReader, Writer):
    """Implements ``WriteTransaction``. A model's data key must be put before its first sealed row."""

    def put(self, key: bytes, value: bytes) -> None:
        # Seal first: a row that cannot be sealed must fail before the transaction counts as written to.
        super().put(key, self._sealed(key, value))

    def _sealed(self, key: bytes, value: bytes) -> bytes:
        return self._sealing.seal(self._cipher(key), key, value) if keys.is_sealed(key) else value

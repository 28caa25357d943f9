"""The transactions that the rows' operations need. ``storage/shards`` implements them with LMDB.

A transaction sees one consistent snapshot, and its own writes on top of it. It is valid only
inside the block or operation that it was given to, and only on that OS thread.
"""

from collections.abc import Iterator
from typing import Protocol


class ReadTransaction(Protocol):
    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None if the key is absent."""
        ...

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys that start with ``prefix``, ascending, strictly after the key ``after``.

        Writing while a scan is open is not allowed.
        """
        ...


class WriteTransaction(ReadTransaction, Protocol):
    """Operations check first and write last: after its first write an operation must not fail."""

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> bool:
        """Remove the key; return whether it was there."""
        ...

    def delete_prefix(self, prefix: bytes) -> int:
        """Remove every key that starts with ``prefix``; return how many there were."""
        ...

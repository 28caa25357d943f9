"""Rows in memory that are in no shard yet, behind the interface of a transaction."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping


class RowsInMemory:
    """Implements ``ReadTransaction``."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self._rows = rows
        self._keys = sorted(rows)

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        at = bisect_left(self._keys, prefix if after is None else max(prefix, after + b"\0"))
        while at < len(self._keys) and limit != 0 and self._keys[at].startswith(prefix):
            yield self._keys[at], self._rows[self._keys[at]]
            limit = None if limit is None else limit - 1
            at += 1

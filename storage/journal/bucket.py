"""The object store that a journal needs: objects created only if absent, few that are replaced."""

import secrets
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from populace.storage.journal.errors import BucketRefused

CHECK_REQUESTS = 4
"""The requests of ``check_bucket``."""


class Listed(NamedTuple):
    """An object of a bucket: its name, and its size in bytes."""

    name: str
    size: int


class Bucket(Protocol):
    """The objects under one URL. Safe from many threads and processes at once.

    A request that fails raises ``BucketRefused`` if it is refused for good, and else ``BucketUnreachable``; a
    write may have taken effect then, or may take effect later. What was written is durable. Names consist
    of parts between slashes. Absent objects are no errors.
    """

    @property
    def url(self) -> str:
        """The URL without what may be secret in it."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write an object if there is none of this name, and return whether there was none."""
        ...

    def replace(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Write an object, in the place of one of this name. It appears whole or not at all.

        What an iterable raises leaves the object as it was. An object store that keeps the former one as an
        old version is refused, afterwards.
        """
        ...

    def read(self, name: str) -> bytes | None: ...

    def has(self, name: str) -> bool: ...

    def stream(self, name: str) -> Generator[bytes] | None:
        """Read a large object in pieces."""
        ...

    def names(self, prefix: str, *, after: str = "") -> list[Listed]:
        """List the objects whose names begin with the parts in ``prefix`` and sort after ``after``."""
        ...

    def folders(self) -> list[str]:
        """List the first parts of all names."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects. An object store that keeps old versions of them is refused, afterwards."""
        ...


def check_bucket(bucket: Bucket, folder: str) -> None:
    """Write, refuse to write again, read and remove an object in a folder: can a journal be kept there?

    Raises ``BucketRefused`` and ``BucketUnreachable``.
    """
    name = f"{folder}/checked-{secrets.token_hex(8)}"
    try:
        bucket.replace(name, b"1")
        if bucket.create(name, b"2"):
            raise BucketRefused(bucket.url, "it creates an object where there is one.")
        if bucket.read(name) != b"1":
            raise BucketRefused(bucket.url, "it does not return what was written.")
    finally:
        bucket.remove([name])


def shown(url: str) -> str:
    """Return the URL without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else url.partition("?")[0]

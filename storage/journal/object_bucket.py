# pyright: reportUnknownMemberType=false
# obstore's functions have overloads for pyarrow, which is not installed.
"""A bucket of an object store: S3, Google Cloud Storage, Azure, and what is compatible with them.

The only module that imports ``obstore``. Credentials, regions and endpoints come from the variables that the
providers' own tools read, such as ``AWS_ACCESS_KEY_ID`` and ``AWS_ENDPOINT_URL``.
"""

import contextlib
from collections.abc import Generator, Iterable, Sequence
from datetime import timedelta

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import ObjectStore, from_url

from populace.storage.journal.bucket import Listed, shown
from populace.storage.journal.errors import BucketRefused, BucketUnreachable

SECONDS_MAX = 5.0
"""How long a request may take, with its retries. Then it is not known whether it took effect."""

PART_SECONDS_MAX = 120.0
"""How long a part of a large object may take."""

CONNECT_SECONDS_MAX = 2.0
RETRIES_MAX = 3

PART_BYTES = 8 * 2**20
"""The bytes that are sent in one request of a large object; S3 takes no less than 5 MiB."""

PARTS_AT_ONCE = 2

_REFUSALS = (
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
"""What no retry cures, and what certainly wrote nothing."""


_ABSENT_BUCKETS = ("NoSuchBucket", "ContainerNotFound")
"""What providers say of one; the library takes it for an absent object, or a failure that passes."""


class ObjectBucket:
    """Implements ``Bucket``."""

    def __init__(self, url: str, store: ObjectStore, patient: ObjectStore | None = None) -> None:
        """Use ``open``, or another ``ObjectStore`` in tests. ``patient`` is for large objects."""
        self.url = url
        self._store = store
        self._patient = patient or store
        self._keeps_versions = False
        """As the last object showed that was written: it may be switched on and off at any time."""

    @classmethod
    def open(cls, url: str) -> "ObjectBucket":
        """Open the bucket; sends no request. Raises ``BucketRefused``."""
        try:
            return cls(shown(url), _store(url, SECONDS_MAX), _store(url, PART_SECONDS_MAX))
        except (BaseError, ValueError) as error:
            raise BucketRefused(shown(url), _reason(error)) from error

    def create(self, name: str, content: bytes) -> bool:
        with self._requests():
            try:
                written = obstore.put(self._store, name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        self._look_at(written["version"])
        return True

    def replace(self, name: str, content: bytes | Iterable[bytes]) -> None:
        with self._requests():
            if isinstance(content, bytes):
                written = obstore.put(self._store, name, content, use_multipart=False)
                self._look_at(written["version"])
                self._refuse_versions()
            else:
                obstore.put(
                    self._patient,
                    name,
                    iter(content),
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )

    def read(self, name: str) -> bytes | None:
        with self._requests():
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def has(self, name: str) -> bool:
        with self._requests():
            try:
                obstore.head(self._store, name)
            except FileNotFoundError:
                return False
        return True

    def stream(self, name: str) -> Generator[bytes] | None:
        with self._requests():
            try:
                size = obstore.head(self._store, name)["size"]
            except FileNotFoundError:
                return None
        return self._pieces(name, size)

    def names(self, prefix: str, *, after: str = "") -> list[Listed]:
        with self._requests():
            pages = obstore.list(self._store, prefix, offset=after or None)
            found = [Listed(item["path"], item["size"]) for page in pages for item in page]
        return sorted(found)

    def folders(self) -> list[str]:
        with self._requests():
            listed = obstore.list_with_delimiter(self._store)
        return sorted(prefix.rstrip("/") for prefix in listed["common_prefixes"])

    def remove(self, names: Sequence[str]) -> None:
        with self._requests(), contextlib.suppress(FileNotFoundError):
            if names:
                obstore.delete(self._store, list(names))
                self._refuse_versions()

    def _look_at(self, version: str | None) -> None:
        # Google Cloud Storage numbers what it writes in any case, and S3 calls "null" what it replaces.
        self._keeps_versions = version not in (None, "null") and not self.url.startswith("gs:")

    def _refuse_versions(self) -> None:
        if self._keeps_versions:
            reason = "it keeps old versions of objects, so that what is erased would stay; switch that off."
            raise BucketRefused(self.url, reason)

    def _pieces(self, name: str, size: int) -> Generator[bytes]:
        for start in range(0, size, PART_BYTES):
            with self._requests():
                end = min(size, start + PART_BYTES)
                piece = bytes(obstore.get_range(self._patient, name, start=start, end=end))
            yield piece

    @contextlib.contextmanager
    def _requests(self) -> Generator[None]:
        try:
            yield
        except _REFUSALS as error:
            raise BucketRefused(self.url, _reason(error)) from error
        except (BaseError, OSError) as error:
            if any(code in str(error) for code in _ABSENT_BUCKETS):
                reason = "there is no such bucket; make it, or correct the URL."
                raise BucketRefused(self.url, reason) from error
            raise BucketUnreachable(_reason(error)) from error


def _store(url: str, seconds_max: float) -> ObjectStore:
    limit = timedelta(seconds=seconds_max)
    return from_url(
        url,
        client_options={
            # Only if the endpoint is one: MinIO in a network of one's own, for example.
            "allow_http": True,
            "timeout": limit,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS_MAX),
        },
        retry_config={"max_retries": RETRIES_MAX, "retry_timeout": limit},
    )


def _reason(error: Exception) -> str:
    # What follows is debug output of the library.
    return str(error).partition("\n\nDebug source:")[0].strip() or type(error).__name__

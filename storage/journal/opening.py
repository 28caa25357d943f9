"""Opens the bucket that a URL names."""

from urllib.parse import urlsplit

from populace.storage.journal.bucket import Bucket, shown
from populace.storage.journal.directory_bucket import DirectoryBucket
from populace.storage.journal.errors import BucketRefused
from populace.storage.journal.object_bucket import ObjectBucket

SCHEMES = ("file", "s3", "gs", "az")


def open_bucket(url: str) -> Bucket:
    """Open ``file:///directory``, ``s3://bucket/prefix``, ``gs://…`` or ``az://…``. Sends no request.

    Raises ``BucketRefused`` for another URL, and if the variables for the provider are not usable.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise BucketRefused(shown(url), f"its address has to begin with one of {known}.")
    return DirectoryBucket.open(url) if scheme == "file" else ObjectBucket.open(url)

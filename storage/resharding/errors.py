"""The errors of resharding; ``storage/records/errors.py`` holds the root.

::

    StorageError
    ├── ReshardingNeedsSpace   the disk has no room for the new shards beside the old ones
    └── ReshardingFailed       the new shards do not hold what the old ones do
"""

from populace.storage.records.errors import StorageError


class ReshardingNeedsSpace(StorageError, logged=("path",)):
    """The disk has no room for the new shards beside the old ones; the store was left as it is."""

    code = "resharding_needs_space"
    template = (
        "Resharding {path} takes {bytes_needed} bytes of disk beside the old shards, and {bytes_free} are "
        "free. The store was left as it is: make room and try again."
    )

    path: str
    bytes_needed: int
    bytes_free: int


class ReshardingFailed(StorageError, logged=("path",)):
    """The new shards do not hold what the old ones do; they were removed, and the store was left as it is."""

    code = "resharding_failed"
    template = (
        "The new shards of {path} do not hold what the old ones do: {found}. The store was left as it is. "
        "Check the disk and the memory of this machine, and try again."
    )

    path: str
    found: str

"""The errors of packed adapters.

::

    StorageError
    ├── PackedAdapterInvalid          not a packed adapter, or damaged: nothing of it is used
    └── PackedAdapterVersionMismatch  a packed adapter of a newer release
"""

from populace.storage.records.errors import StorageError


class PackedAdapterInvalid(StorageError):
    """The bytes are not a whole and sound packed adapter."""

    code = "packed_adapter_invalid"
    template = "This is not a sound packed adapter: {reason}. Make it again from its PEFT directory."

    reason: str


class PackedAdapterVersionMismatch(StorageError):
    """The packed adapter was made by a newer release than this one."""

    code = "packed_adapter_version_mismatch"
    template = (
        "This packed adapter is of format {stored}, and this release reads up to {supported}. Update "
        "Populace."
    )

    stored: int
    supported: int

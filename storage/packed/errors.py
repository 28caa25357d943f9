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

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"This is not a sound packed adapter: {self.reason}. Make it again from its PEFT directory."


class PackedAdapterVersionMismatch(StorageError):
    """The packed adapter was made by a newer release than this one."""

    code = "packed_adapter_version_mismatch"

    def __init__(self, stored: int, supported: int) -> None:
        super().__init__(stored, supported)
        self.stored = stored
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"This packed adapter is of format {self.stored}, and this release reads up to {self.supported}. "
            "Update Populace."
        )

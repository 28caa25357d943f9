"""The errors of backing a store up and restoring it.

::

    StorageError
    ├── BackupInvalid          not a backup, or damaged: nothing of it is restored
    ├── BackupVersionMismatch  a backup of a newer release
    ├── KeyFileRefused         the key file is missing, damaged, another store's or too old
    └── DirectoryRefused       a backup or a restored store cannot be made in this directory
"""

from populace.storage.records.errors import StorageError


class BackupInvalid(StorageError):
    """The directory holds no backup, or one that was damaged or changed; nothing of it was restored."""

    code = "backup_invalid"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"The backup at {self.path} cannot be restored: {self.reason}. Take another copy of it."


class BackupVersionMismatch(StorageError):
    """The backup was written by a newer release than this one."""

    code = "backup_version_mismatch"

    def __init__(self, path: str, stored: int, supported: int) -> None:
        super().__init__(path, stored, supported)
        self.path = path
        self.stored = stored
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"The backup at {self.path} has version {self.stored}, "
            f"this release reads up to {self.supported}. Install a newer Populace."
        )


class KeyFileRefused(StorageError):
    """The key file cannot be read with or written to."""

    code = "key_file_refused"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"The key file {self.path} cannot be used: {self.reason}."


class DirectoryRefused(StorageError):
    """A backup or a restored store cannot be made in this directory; it was left as it is."""

    code = "directory_refused"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"Nothing was written to {self.path}: {self.reason}."

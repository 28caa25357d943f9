"""The errors of backing up and restoring a store.

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
    template = "The backup at {path} cannot be restored: {reason}. Take another copy of it."

    path: str
    reason: str


class BackupVersionMismatch(StorageError):
    """The backup was written by a newer release than this one."""

    code = "backup_version_mismatch"
    template = (
        "The backup at {path} has version {stored}, this release reads up to {supported}. Install a "
        "newer Populace."
    )

    path: str
    stored: int
    supported: int


class KeyFileRefused(StorageError):
    """The key file cannot be read with or written to."""

    code = "key_file_refused"
    template = "The key file {path} cannot be used: {reason}."

    path: str
    reason: str


class DirectoryRefused(StorageError):
    """A backup or a restored store cannot be made in this directory; it was left as it is."""

    code = "directory_refused"
    template = "Nothing was written to {path}: {reason}."

    path: str
    reason: str

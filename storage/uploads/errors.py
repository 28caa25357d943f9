"""The errors of uploaded files; ``storage/records/errors.py`` holds the root.

::

    StorageError
    ├── UploadNotFound   the tenant has no such file, or not any more
    └── UploadsFull      the tenant's files reached a limit
"""

from populace.storage.records.errors import StorageError


class UploadNotFound(StorageError):
    """The tenant has no file of this id, or not any more."""

    code = "file_not_found"
    template = "There is no file `{file_id}`."

    file_id: str


class UploadsFull(StorageError):
    """The tenant's files reached a limit: their number, or the bytes of all of them together."""

    code = "files_full"
    template = "The file is not kept: all files together may be {allowed}. Delete some of them."

    allowed: str

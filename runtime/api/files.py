"""Uploaded files, as OpenAI's clients read them."""

from typing import Literal

from populace.api.objects import ApiObject, Listing, example

FilePurpose = Literal["fine-tune", "user_data"]


class FileObject(ApiObject):
    """A file of the caller; ``bytes`` is its size. It is stored whole when it is returned."""

    model_config = example(
        id="file-5f0d7c1a9b3e4d2f8a6c0b1e",
        object="file",
        bytes=20480,
        created_at=1764288000,
        expires_at=1766880000,
        filename="lessons.jsonl",
        purpose="fine-tune",
        status="processed",
    )

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: FilePurpose
    status: Literal["processed"] = "processed"
    status_details: None = None


class FilePage(Listing[FileObject]):
    """A part of the caller's files. The id of its last file is the ``after`` of the next part."""

    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFileObject(ApiObject):
    """The id of a file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True

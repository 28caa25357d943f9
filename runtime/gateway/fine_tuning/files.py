"""``/v1/files``: what callers upload to learn from.

The body of an upload is read here and not by FastAPI, because the tenant has to have its turn before the
first byte is written to this machine's disk.
"""

from typing import Annotated, Any, Literal, get_args

from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from populace.actors.errors import InvalidRequest
from populace.api.files import DeletedFileObject, FileObject, FilePage, FilePurpose
from populace.api.objects import seconds
from populace.gateway.fine_tuning.upload_service import UploadService
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, keyed_router
from populace.gateway.http.needs import needs
from populace.storage.uploads.upload_files import Upload

router = keyed_router()

FILES_PATH = "/v1/files"
FORM_BYTES_MAX = 64 * 1024
"""What an upload may have besides the content of its file."""

PURPOSES: tuple[str, ...] = get_args(FilePurpose)
FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
KEPT_SECONDS = (3600, 2_592_000)
FILENAME_LENGTH_MAX = 255

FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "additionalProperties": False,
    "dependentRequired": {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    },
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": list(PURPOSES)},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": KEPT_SECONDS[0],
            "maximum": KEPT_SECONDS[1],
        },
    },
}
UPLOAD = {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}

After = Annotated[str | None, Query(min_length=1, max_length=128)]


@router.post(FILES_PATH, response_model=FileObject, openapi_extra={"requestBody": UPLOAD})
@needs("tenant", all_models=True)
async def upload_file(request: Request, caller: Caller) -> Response:
    """Keep a file, encrypted; one upload of a tenant at a time."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise InvalidRequest("A file is uploaded as `multipart/form-data`, with `file` and `purpose`.")
    service = upload_service_of(request)
    held = service.hold(caller.tenant)
    try:
        async with request.form(max_files=1, max_fields=len(FIELDS)) as form:
            file, purpose, kept = _checked(form)
            filename = (file.filename or "upload")[:FILENAME_LENGTH_MAX]
            filename.encode()
            upload = await service.add(
                caller.tenant, held, file.file, filename=filename, purpose=purpose, seconds_kept=kept
            )
    except UnicodeError as error:
        # The caller chooses the form's charset, which may decode nothing, or to lone surrogates.
        reason = "The form's names cannot be read: they have to be valid Unicode, in UTF-8."
        raise InvalidRequest(reason, "file") from error
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise InvalidRequest(f"The form could not be read: {error.detail}") from error
    finally:
        held.close()
    return answer(_object(upload))


@router.get(FILES_PATH, response_model=FilePage)
@needs("read", all_models=True)
async def list_files(
    request: Request,
    caller: Caller,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """List the caller's files, newest first unless ``order`` is ``asc``."""
    files = await upload_service_of(request).of_tenant(caller.tenant)
    if order == "asc":
        files.reverse()
    if after is not None:
        places = [at for at, upload in enumerate(files) if upload.file_id == after]
        if not places:
            raise InvalidRequest(f"There is no file `{after}` to list the files after.", "after")
        files = files[places[0] + 1 :]
    wanted = [upload for upload in files if purpose in (None, upload.purpose)]
    page = tuple(_object(upload) for upload in wanted[:limit])
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return answer(FilePage(data=page, first_id=first, last_id=last, has_more=len(wanted) > limit))


@router.get(f"{FILES_PATH}/{{file_id}}", response_model=FileObject)
@needs("read", all_models=True)
async def show_file(request: Request, caller: Caller, file_id: str) -> Response:
    """Describe one file."""
    return answer(_object(await upload_service_of(request).find(caller.tenant, file_id)))


@router.get(f"{FILES_PATH}/{{file_id}}/content", response_class=StreamingResponse, responses=CONTENT)
@needs("read", all_models=True)
async def read_file(request: Request, caller: Caller, file_id: str) -> Response:
    """Return what was uploaded, to the byte."""
    upload, content = await upload_service_of(request).read(caller.tenant, file_id)
    headers = {"Content-Length": str(upload.size)}
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)


@router.delete(f"{FILES_PATH}/{{file_id}}", response_model=DeletedFileObject)
@needs("tenant", all_models=True)
async def delete_file(request: Request, caller: Caller, file_id: str) -> Response:
    """Delete a file for good. A training that has still to read it ends as failed."""
    await upload_service_of(request).remove(caller.tenant, file_id)
    return answer(DeletedFileObject(id=file_id))


def upload_service_of(request: Request) -> UploadService:
    service = request.app.state.upload_service
    assert isinstance(service, UploadService), "its routes are there with it only"
    return service


def _checked(form: FormData) -> tuple[UploadFile, str, int | None]:
    """Return the file, its purpose and for how many seconds it is kept. Raises ``InvalidRequest``."""
    unknown = next((name for name in form if name not in FIELDS), None)
    if unknown is not None:
        unknown.encode()
        raise InvalidRequest(f"Unknown parameter: `{unknown}`.", unknown)
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("Missing required parameter: `file`, with a file's content and name.", "file")
    if purpose is None:
        raise InvalidRequest("Missing required parameter: `purpose`.", "purpose")
    if purpose not in PURPOSES:
        known = " or ".join(f"`{known}`" for known in PURPOSES)
        raise InvalidRequest(f"A file is for {known} here, not for {str(purpose)[:80]!r}.", "purpose")
    return file, str(purpose), _seconds_kept(form)


def _seconds_kept(form: FormData) -> int | None:
    anchor, told = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and told is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest("A file expires after `created_at`, and nothing else.", "expires_after.anchor")
    least, most = KEPT_SECONDS
    text = str(told)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise InvalidRequest(f"A file is kept for {least} to {most} seconds.", "expires_after.seconds")
    return int(text)


def _object(upload: Upload) -> FileObject:
    return FileObject.model_validate(
        {
            "id": upload.file_id,
            "bytes": upload.size,
            "created_at": seconds(upload.created_ms),
            "expires_at": None if upload.expires_ms is None else seconds(upload.expires_ms),
            "filename": upload.filename,
            "purpose": upload.purpose,
        }
    )

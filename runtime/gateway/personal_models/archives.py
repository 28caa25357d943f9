"""Routes that export a personal model as a file and import one."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from populace.api.models import ModelObject
from populace.archive.layout import MEDIA_TYPE, SUFFIX
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, keyed_router
from populace.gateway.http.file_work import HeldFile
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model
from populace.gateway.personal_models.archive_service import ArchiveService
from populace.gateway.personal_models.revisions import BINARY, UPLOAD

router = keyed_router()

IMPORT_PATH = "/v1/personal-models/import"


class ArchiveResponse(StreamingResponse):
    """An archive as a download; it is closed also if the client disconnects before its end."""

    def __init__(self, held: HeldFile, filename: str) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Content-Length": str(held.size),
        }
        super().__init__(held.chunks(), media_type=MEDIA_TYPE, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._held.close()


@router.get(
    "/v1/personal-models/{name}/export",
    status_code=200,
    response_class=ArchiveResponse,
    responses={200: {"content": {MEDIA_TYPE: BINARY}}},
)
@needs("read")
async def export_model(request: Request, caller: Caller, name: str) -> Response:
    """Return the whole model, with its log, as of one moment, as a zip file."""
    model = named_model(caller, name)
    held = await _service(request).export(model)
    return ArchiveResponse(held, f"{model.name}{SUFFIX}")


@router.post(IMPORT_PATH, status_code=201, response_model=ModelObject, openapi_extra={"requestBody": UPLOAD})
@needs("tenant", all_models=True)
async def import_model(
    request: Request, caller: Caller, name: Annotated[str | None, Query()] = None
) -> Response:
    """Create a model from the archive in the body, under the name in it or another one."""
    await room_for("people", "bytes")
    view = await _service(request).take_in(caller.tenant, name, request.stream())
    return answer(ModelObject.of(view), status_code=201)


def _service(request: Request) -> ArchiveService:
    service = request.app.state.archive_service
    assert isinstance(service, ArchiveService)
    return service

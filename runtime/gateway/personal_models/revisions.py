"""``/v1/personal-models/{name}/revisions`` and ``…/diff``: publishes an adapter, and compares two."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from populace.actors.errors import InvalidRequest
from populace.actors.revision_names import find_compared
from populace.actors.turn import BASE_REVISION
from populace.api.models import DiffObject, LayerObject, RevisionObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import LATEST, check_alias, named_model, new_model
from populace.gateway.personal_models.adapter_service import AdapterService

router = keyed_router()

REVISIONS_PATH = "/v1/personal-models/{name}/revisions"
BINARY = {"schema": {"type": "string", "format": "binary"}}
UPLOAD = {"required": True, "content": {"application/zip": BINARY, "application/octet-stream": BINARY}}

Reference = Annotated[str | None, Query(min_length=1)]


@router.post(
    REVISIONS_PATH, status_code=201, response_model=RevisionObject, openapi_extra={"requestBody": UPLOAD}
)
@needs("tenant")
async def publish_revision(
    request: Request, caller: Caller, name: str, alias: str = LATEST, create: bool = False
) -> Response:
    """Import the adapter in the body as a revision of the model, prewarm it, and move the alias to it.

    The body is a zip of a PEFT LoRA directory, or a packed adapter. Importing an adapter again makes the same
    revision. With ``create`` the model is created with it, and must not exist yet.
    """
    check_alias(alias)
    service = adapter_service_of(request)
    await room_for("bytes", *(("people",) if create else ()))
    if not create:
        revision = await service.publish(named_model(caller, name), alias, request.stream())
    elif alias != LATEST:
        raise InvalidRequest(f"A new model's first revision is its `{LATEST}`.", "alias")
    else:
        revision = await service.create(new_model(caller, name), request.stream())
    return answer(RevisionObject.of(revision), status_code=201)


@router.get("/v1/personal-models/{name}/diff", response_model=DiffObject)
@needs("read")
async def compare_revisions(
    request: Request, caller: Caller, name: str, one: Reference = None, other: Reference = None
) -> Response:
    """Compare two revisions layer by layer: norms, distance and principal angles in degrees.

    Each is an alias, a digest or its beginning, or ``base``. ``one`` is by default the current revision,
    ``other`` the parent of ``one``.
    """
    hosts, model = gateway_of(request).hosts, named_model(caller, name)
    view, known = await hosts.show_model(model), await hosts.list_revisions(model)
    first, second = find_compared(name, known, view.aliases, one, other)
    layers = await adapter_service_of(request).compare(caller.tenant, first, second)
    data = tuple(LayerObject.of(layer) for layer in layers)
    return answer(DiffObject(one=first or BASE_REVISION, other=second or BASE_REVISION, data=data))


def adapter_service_of(request: Request) -> AdapterService:
    service = request.app.state.adapter_service
    assert isinstance(service, AdapterService), "its routes are there with it only"
    return service

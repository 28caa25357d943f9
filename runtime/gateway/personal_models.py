"""``/v1/models`` as OpenAI clients know it, and ``/v1/personal-models`` to create, show and erase."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.hosts import ModelView
from populace.actors.turn import Interaction, ModelId
from populace.gateway.context import Caller, KeyedRoute, gateway_of
from populace.gateway.schema import NewModelBody
from populace.gateway.target import BASE_MODEL, LATEST, named_model, parse_target
from populace.storage.errors import RevisionNotFound

router = APIRouter(route_class=KeyedRoute)

Limit = Annotated[int, Query(ge=1, le=1000)]
Start = Annotated[int, Query(ge=0, lt=2**63)]


@router.get("/v1/models")
async def list_openai_models(
    request: Request, tenant: Caller, after: str | None = None, limit: Limit = 1000
) -> Response:
    """List the base and the caller's personal models, by name; ``after`` and ``limit`` page."""
    gateway = gateway_of(request)
    page = await gateway.hosts.list_models(tenant, after=after, limit=limit)
    base = [_openai_model(BASE_MODEL, 0, "populace")] if after is None else []
    models = [_openai_model(view.model.name, view.created_ms // 1000, tenant) for view in page.models]
    return JSONResponse(_page(base + models, page.after))


@router.get("/v1/models/{name}")
async def show_openai_model(request: Request, tenant: Caller, name: str) -> Response:
    gateway = gateway_of(request)
    target = parse_target(tenant, name)
    if target.model is None:
        return JSONResponse(_openai_model(BASE_MODEL, 0, "populace"))
    view = await gateway.hosts.show_model(target.model)
    if target.alias not in view.aliases and target.alias != LATEST:
        raise RevisionNotFound(target.model.name, target.alias)
    return JSONResponse(_openai_model(name, view.created_ms // 1000, tenant))


@router.post("/v1/personal-models", status_code=201)
async def create_model(request: Request, tenant: Caller, body: NewModelBody) -> Response:
    """Create a personal model. It answers from the base until it has a revision of its own."""
    gateway = gateway_of(request)
    view = await gateway.hosts.create_model(ModelId(tenant, body.name))
    return JSONResponse(model_body(view), status_code=201)


@router.get("/v1/personal-models")
async def list_models(
    request: Request, tenant: Caller, after: str | None = None, limit: Limit = 100
) -> Response:
    gateway = gateway_of(request)
    page = await gateway.hosts.list_models(tenant, after=after, limit=limit)
    return JSONResponse(_page([model_body(view) for view in page.models], page.after))


@router.get("/v1/personal-models/{name}")
async def show_model(request: Request, tenant: Caller, name: str) -> Response:
    gateway = gateway_of(request)
    return JSONResponse(model_body(await gateway.hosts.show_model(named_model(tenant, name))))


@router.delete("/v1/personal-models/{name}")
async def erase_model(request: Request, tenant: Caller, name: str) -> Response:
    """Erase the model and all that its person said, after its running turn."""
    gateway = gateway_of(request)
    await gateway.hosts.erase_model(named_model(tenant, name))
    return JSONResponse({"id": name, "object": "personal_model.deleted", "deleted": True})


@router.get("/v1/personal-models/{name}/interactions")
async def read_log(
    request: Request, tenant: Caller, name: str, start: Start = 0, limit: Limit = 100
) -> Response:
    """Read the model's log from position ``start``, or from its ``log_start`` if that is later."""
    gateway = gateway_of(request)
    model = named_model(tenant, name)
    log = await gateway.hosts.read_log(model, start=start, limit=limit)
    following = str(log[-1].position + 1) if len(log) == limit else None
    return JSONResponse(_page([interaction_body(turn) for turn in log], following))


def model_body(view: ModelView) -> dict[str, Any]:
    return {
        "id": view.model.name,
        "object": "personal_model",
        "created": view.created_ms // 1000,
        "base": view.base,
        "log_start": view.log_start,
        "log_position": view.log_position,
        "cursor": view.cursor,
        "memory_version": view.memory_version,
        "aliases": view.aliases,
        "active": view.active,
    }


def interaction_body(turn: Interaction) -> dict[str, Any]:
    return {
        "object": "interaction",
        "position": turn.position,
        "operation": turn.operation,
        "completion_id": turn.completion_id,
        "created": turn.created_ms // 1000,
        "messages": [{"role": message.role, "content": message.content} for message in turn.messages],
        "reply": turn.reply,
        "finish_reason": turn.finish_reason,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "revision": turn.revision,
        "base": turn.base,
        "memory_version": turn.memory_version,
        "conversation": turn.conversation,
    }


def _openai_model(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def _page(data: list[dict[str, Any]], after: str | None) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": after is not None, "after": after}

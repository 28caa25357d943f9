"""``/v1/models`` as OpenAI clients know it, and ``/v1/personal-models`` to create, show and erase."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.hosts import Lineage, ModelView, Revision
from populace.actors.memory import MemoryTrace
from populace.actors.turn import Interaction, ModelId
from populace.gateway.context import Caller, KeyedRoute, gateway_of
from populace.gateway.schema import NewModelBody
from populace.gateway.target import BASE_MODEL, LATEST, named_model, parse_target
from populace.storage.records.errors import RevisionNotFound

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


@router.post("/v1/personal-models/{name}/fork", status_code=201)
async def fork_model(request: Request, tenant: Caller, name: str, body: NewModelBody) -> Response:
    """Create a model that begins with all that this one is: log, memory, revisions and aliases."""
    hosts = gateway_of(request).hosts
    content = await hosts.export_model(named_model(tenant, name))
    view = await hosts.import_model(ModelId(tenant, body.name), content)
    return JSONResponse(model_body(view), status_code=201)


@router.get("/v1/personal-models/{name}/revisions")
async def list_revisions(request: Request, tenant: Caller, name: str) -> Response:
    """List the model's revisions, oldest first: where each comes from, and whether it is ready."""
    found = await gateway_of(request).hosts.list_revisions(named_model(tenant, name))
    return JSONResponse(_page([revision_body(revision) for revision in found], None))


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


def revision_body(revision: Revision) -> dict[str, Any]:
    return {
        "id": revision.digest,
        "object": "personal_model.revision",
        "created": revision.created_ms // 1000,
        "base": revision.base,
        "method": revision.method,
        "parent": revision.parent,
        "rank": revision.rank,
        "bytes": revision.adapter_bytes,
        "readiness": revision.readiness,
        "lineage": None if revision.lineage is None else lineage_body(revision.lineage),
        "sources": [{"revision": digest, "weight": weight} for digest, weight in revision.sources],
    }


def lineage_body(lineage: Lineage) -> dict[str, Any]:
    return {
        "log_range": list(lineage.log_range),
        "feedback_until": lineage.feedback_until_ms // 1000,
        "data_digest": lineage.data_digest,
        "hyper_parameters": lineage.hyper_parameters,
        "versions": lineage.versions,
        "memory_module": lineage.memory_module,
        "scores": lineage.scores,
        "objections": list(lineage.objections),
        "tokens": lineage.tokens,
        "seconds": lineage.seconds,
    }


def _trace_body(trace: MemoryTrace) -> dict[str, Any]:
    """Whether the turn read the memory, and the first message of its prompt that went into it."""
    return {"read": trace.read, "written_from": trace.written_from}


def interaction_body(turn: Interaction) -> dict[str, Any]:
    return {
        "object": "interaction",
        "position": turn.position,
        "memory": None if turn.memory is None else _trace_body(turn.memory),
        "retrieved": list(turn.retrieved),
        "forgotten": turn.forgotten,
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

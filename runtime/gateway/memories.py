"""``/v1/personal-models/{name}/memory``: what a model remembers, as numbers, as a picture, and in words."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.known import Known
from populace.actors.memories import MemoryView
from populace.actors.turn import operation_of
from populace.gateway.context import Caller, KeyedRoute, gateway_of
from populace.gateway.disconnect import while_connected
from populace.gateway.idempotency import idempotency_key
from populace.gateway.personal_models import interaction_body
from populace.gateway.schema import RestoreMemoryBody
from populace.gateway.target import named_model
from populace.pictures.memory import PersonalMemory

router = APIRouter(route_class=KeyedRoute)

Position = Annotated[int | None, Query(ge=0, lt=2**63)]


@router.get("/v1/personal-models/{name}/memory")
async def show_memory(request: Request, tenant: Caller, name: str, position: Position = None) -> Response:
    """Show what the model remembers: version, norm per layer, and the newest writes.

    ``position`` asks for the memory as it was after that many turns, which is computed from the log.
    """
    view = await _memory(request, tenant, name, position)
    return JSONResponse(memory_body(PersonalMemory.of(view), gateway_of(request).engine.base.memory_module))


@router.get("/v1/personal-models/{name}/memory/picture")
async def draw_memory(request: Request, tenant: Caller, name: str, position: Position = None) -> Response:
    """Draw the model's memory state as SVG."""
    view = await _memory(request, tenant, name, position)
    return Response(PersonalMemory.of(view).picture(), media_type="image/svg+xml")


@router.get("/v1/personal-models/{name}/memory/known")
async def show_known(
    request: Request, tenant: Caller, name: str, question: Annotated[tuple[str, ...], Query()] = ()
) -> Response:
    """Ask the model about its person: each answer with how sure it is and the turn that it is from.

    ``question`` may be given several times; without, a list of common ones is asked. Nothing is logged.
    """
    asking = gateway_of(request).hosts.memories.known(named_model(tenant, name), question)
    return JSONResponse(known_body(await while_connected(request, asking)))


@router.post("/v1/personal-models/{name}/memory")
async def restore_memory(request: Request, tenant: Caller, name: str, body: RestoreMemoryBody) -> Response:
    """Set the memory back to what it was after ``position`` turns; that is a turn of the log itself.

    ``position`` null empties it. With an ``Idempotency-Key`` a retry changes nothing.
    """
    gateway = gateway_of(request)
    turn = await gateway.hosts.memories.restore(
        named_model(tenant, name),
        body.position,
        operation_of(idempotency_key(request)),
        turn_seconds_max=gateway.turn_seconds_max,
    )
    return JSONResponse(interaction_body(turn))


async def _memory(request: Request, tenant: str, name: str, position: int | None) -> MemoryView:
    """Read a memory. A replay takes the engine, so it ends when the client leaves."""
    reading = gateway_of(request).hosts.memories.show(named_model(tenant, name), position)
    return await while_connected(request, reading)


def memory_body(memory: PersonalMemory, served: str | None) -> dict[str, Any]:
    """``served_module`` is what the engine has now: a state of another module cannot be used with it."""
    return {
        "object": "personal_model.memory",
        "id": memory.name,
        "version": memory.version,
        "module": memory.module,
        "served_module": served,
        "bytes": memory.bytes,
        "norms": [round(norm, 6) for norm in memory.norms],
        "writes": [
            {
                "position": write.position,
                "created": write.created_ms // 1000,
                "messages": write.messages,
                "reply_tokens": write.reply_tokens,
            }
            for write in memory.writes
        ],
    }


def known_body(known: Known) -> dict[str, Any]:
    return {
        "object": "personal_model.known",
        "id": known.model.name,
        "facts": [
            {
                "question": one.question,
                "answer": one.answer,
                "sure": round(one.sure, 4),
                "position": one.position,
                "said": one.said,
            }
            for one in known.facts
        ],
        "unknown": list(known.unknown),
    }

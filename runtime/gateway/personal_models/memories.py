"""``/v1/personal-models/{name}/memory``: what a model remembers, as numbers, as a picture, and in words."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from populace.actors.api_keys import KeyHolder
from populace.actors.known import QUESTION_CHARACTERS_MAX, QUESTIONS_MAX, SURE_MIN
from populace.actors.memories import MemoryView
from populace.actors.turn import operation_of
from populace.api.memory import KnownObject, MemoryObject
from populace.api.turns import InteractionObject
from populace.gateway.http.answers import answer
from populace.gateway.http.body import ExactInteger
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.disconnect import while_connected
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model
from populace.gateway.personal_models.schema import RestoreMemoryBody
from populace.pictures.memory import PersonalMemory

router = keyed_router()

PICTURE_TYPE = "image/svg+xml"

Position = Annotated[ExactInteger | None, Query()]
Question = Annotated[
    str, Field(json_schema_extra={"minLength": 1, "maxLength": QUESTION_CHARACTERS_MAX, "pattern": r"\S"})
]
Sure = Annotated[float, Query(ge=0, le=1)]
Questions = Annotated[tuple[Question, ...], Query(json_schema_extra={"maxItems": QUESTIONS_MAX})]


@router.get("/v1/personal-models/{name}/memory", response_model=MemoryObject)
@needs("read")
async def show_memory(
    request: Request, caller: Caller, name: str, position: Position = None, state: bool = False
) -> Response:
    """Show what the model remembers: version, norm per layer, and the newest writes.

    ``position`` asks for the memory as it was after that many turns, which is computed from the log. With
    ``state`` the packed state comes too, in base64.
    """
    view = await _memory(request, caller, name, position)
    memory = PersonalMemory.of(view)
    return answer(
        MemoryObject.of(
            view,
            module=memory.module,
            served_module=gateway_of(request).engine.base.memory_module,
            size=memory.bytes,
            norms=memory.norms,
            with_state=state,
        )
    )


@router.get(
    "/v1/personal-models/{name}/memory/picture",
    response_class=Response,
    responses={200: {"content": {PICTURE_TYPE: {"schema": {"type": "string"}}}}},
)
@needs("read")
async def draw_memory(request: Request, caller: Caller, name: str, position: Position = None) -> Response:
    """Draw the model's memory state as SVG."""
    view = await _memory(request, caller, name, position)
    return Response(PersonalMemory.of(view).picture(), media_type=PICTURE_TYPE)


@router.get("/v1/personal-models/{name}/memory/known", response_model=KnownObject)
@needs("tenant")
async def show_known(
    request: Request,
    caller: Caller,
    name: str,
    question: Questions = (),
    sure_min: Sure = SURE_MIN,
    wait: bool = False,
) -> Response:
    """Show what the model knows about its person; each answer has its certainty and the turn it comes from.

    It is what the model answered when its log ended at ``position``, null if it was not asked yet. When
    something was said, corrected or learned since, it is asked anew in the background (``refreshing``);
    ``wait`` waits for that. ``question``, which may be repeated, is asked now instead of the common ones.
    Answers that are less certain than ``sure_min`` are left out. Nothing is logged.
    """
    memories = gateway_of(request).hosts.memories
    asking = memories.known(named_model(caller, name), question, sure_min=sure_min, wait=wait)
    return answer(KnownObject.of(await while_connected(request, asking)))


@router.post("/v1/personal-models/{name}/memory", response_model=InteractionObject)
@needs("tenant")
async def restore_memory(request: Request, caller: Caller, name: str, body: RestoreMemoryBody) -> Response:
    """Set the memory to what it was after ``position`` turns; this is recorded as a turn itself.

    ``position`` null empties it. With an ``Idempotency-Key`` a retry changes nothing.
    """
    gateway = gateway_of(request)
    turn = await gateway.hosts.memories.restore(
        named_model(caller, name),
        body.position,
        operation_of(idempotency_key(request)),
        turn_seconds_max=gateway.turn_seconds_max,
    )
    return answer(InteractionObject.of(turn))


async def _memory(request: Request, caller: KeyHolder, name: str, position: int | None) -> MemoryView:
    """Read a memory. A replay occupies the engine, so it is cancelled if the client disconnects."""
    reading = gateway_of(request).hosts.memories.show(named_model(caller, name), position)
    return await while_connected(request, reading)

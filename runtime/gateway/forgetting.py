"""``/v1/personal-models/{name}/forget``: turns that shall never have been said."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.errors import InvalidRequest
from populace.actors.forgetting import Forgotten
from populace.actors.turn import operation_of
from populace.gateway.context import Caller, KeyedRoute, gateway_of
from populace.gateway.idempotency import idempotency_key
from populace.gateway.personal_models import interaction_body
from populace.gateway.schema import ForgetBody
from populace.gateway.target import named_model

router = APIRouter(route_class=KeyedRoute)


@router.post("/v1/personal-models/{name}/forget")
async def forget(request: Request, tenant: Caller, name: str, body: ForgetBody) -> Response:
    """Forget turns, by ``position`` or ``positions``, or by the words of a ``query``.

    A query finds turns and forgets nothing unless it is sent with ``confirm``. The memory is folded again
    without them, or ``emptied``. With an ``Idempotency-Key`` a retry changes nothing.
    """
    gateway, model = gateway_of(request), named_model(tenant, name)
    if sum(one is not None for one in (body.position, body.positions, body.query)) != 1:
        raise InvalidRequest("Name the turns by one of position, positions and query.", "position")
    if body.query is not None and not body.confirm:
        return JSONResponse(forgotten_body(await gateway.hosts.forgetting.find(model, body.query)))
    by_position = body.positions if body.position is None else [body.position]
    forgotten = await gateway.hosts.forgetting.forget(
        model,
        body.query or by_position or [],
        operation_of(idempotency_key(request)),
        memory=body.memory,
        turn_seconds_max=gateway.turn_seconds_max,
    )
    return JSONResponse(forgotten_body(forgotten))


def forgotten_body(forgotten: Forgotten) -> dict[str, Any]:
    return {
        "object": "personal_model.forgotten",
        "id": forgotten.model.name,
        "position": forgotten.position,
        "forgotten": list(forgotten.positions),
        "already_forgotten": list(forgotten.already),
        "shown": list(forgotten.shown),
        "repeated": list(forgotten.repeated),
        "revisions": list(forgotten.revisions),
        "aliases": {alias: digest or "base" for alias, digest in forgotten.aliases},
        "jobs": list(forgotten.jobs),
        "memory": forgotten.memory,
        "found": [interaction_body(turn) for turn in forgotten.found],
        "exact": forgotten.is_exact,
        "message": str(forgotten),
    }

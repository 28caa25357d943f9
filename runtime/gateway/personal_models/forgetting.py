"""``/v1/personal-models/{name}/forget``: removes turns from a model for good."""

from fastapi import Request
from fastapi.responses import Response

from populace.actors.errors import InvalidRequest
from populace.actors.turn import operation_of
from populace.api.turns import ForgottenObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model
from populace.gateway.personal_models.schema import ForgetBody

router = keyed_router()


@router.post("/v1/personal-models/{name}/forget", response_model=ForgottenObject)
@needs("tenant")
async def forget(request: Request, caller: Caller, name: str, body: ForgetBody) -> Response:
    """Forget turns, by ``position`` or ``positions``, or by the words of a ``query``.

    A query finds turns and forgets nothing unless it is sent with ``confirm``. The memory is recomputed
    without them, or ``emptied``. With an ``Idempotency-Key`` a retry changes nothing.
    """
    gateway, model = gateway_of(request), named_model(caller, name)
    if sum(named is not None for named in (body.position, body.positions, body.query)) != 1:
        raise InvalidRequest("Name the turns by one of position, positions and query.", "position")
    if body.query is not None and not body.confirm:
        return answer(ForgottenObject.of(await gateway.hosts.forgetting.find(model, body.query)))
    by_position = body.positions if body.position is None else [body.position]
    forgotten = await gateway.hosts.forgetting.forget(
        model,
        body.query or by_position or [],
        operation_of(idempotency_key(request)),
        memory=body.memory,
        turn_seconds_max=gateway.turn_seconds_max,
    )
    return answer(ForgottenObject.of(forgotten))

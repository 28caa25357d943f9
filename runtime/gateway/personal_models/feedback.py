"""``/v1/feedback``: records feedback on a reply, and lists that on a model's replies."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Opinion
from populace.api.objects import Listing
from populace.api.turns import FeedbackObject
from populace.gateway.http.answers import answer
from populace.gateway.http.body import ExactInteger
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model, parse_target
from populace.gateway.personal_models.schema import FeedbackBody
from populace.storage.records.errors import ModelNotFound

router = keyed_router()

Limit = Annotated[int, Query(ge=1, le=1000)]
Start = Annotated[ExactInteger, Query()]


@router.post("/v1/feedback", status_code=201, response_model=FeedbackObject)
@needs("tenant")
async def give_feedback(request: Request, caller: Caller, body: FeedbackBody) -> Response:
    """Attach feedback to a reply, which ``completion_id`` (its ``id``) or ``position`` names.

    Repeated feedback is stored once, unless other feedback of the same kind came in between. With an
    ``Idempotency-Key`` only a retry counts as repeated, and the same thumb under two keys counts twice.
    """
    model = parse_target(caller, body.model).model
    if model is None:
        raise ModelNotFound(body.model)
    if (body.completion_id is None) == (body.position is None):
        raise InvalidRequest("Name the reply by its completion_id or its position.", "completion_id")
    on = body.position if body.completion_id is None else body.completion_id
    assert on is not None
    opinion = Opinion(
        thumb=None if body.thumb is None else body.thumb == "up",
        rating=body.rating,
        correction=body.correction,
        reward=body.reward,
    )
    given = await gateway_of(request).hosts.give_feedback(model, on, opinion, idempotency_key(request))
    return answer(FeedbackObject.of(given), status_code=201)


@router.get("/v1/personal-models/{name}/feedback", response_model=Listing[FeedbackObject])
@needs("read")
async def read_feedback(
    request: Request, caller: Caller, name: str, start: Start = 0, limit: Limit = 1000
) -> Response:
    """List the feedback on the interactions at and after position ``start``, in their order."""
    found = await gateway_of(request).hosts.read_feedback(named_model(caller, name), start=start, limit=limit)
    return answer(Listing[FeedbackObject](data=tuple(FeedbackObject.of(given) for given in found)))

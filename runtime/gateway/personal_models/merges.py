"""``/v1/population/merge``: merges several members into one revision."""

from fastapi import Request
from fastapi.responses import Response

from populace.actors.members import revision_to_merge
from populace.actors.merging import LINEAR, LINEAR_WARNING, MergeOptions
from populace.api.models import MergeObject, RevisionObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model, new_model
from populace.gateway.personal_models.revisions import adapter_service_of
from populace.gateway.personal_models.schema import MergeBody
from populace.storage.records.errors import ModelNotFound

router = keyed_router()


@router.post("/v1/population/merge", status_code=201, response_model=MergeObject)
@needs("tenant", all_models=True)
async def merge(request: Request, caller: Caller, body: MergeBody) -> Response:
    """Merge what members' adapters add to the base into a revision of ``into``, which becomes its ``latest``.

    ``into`` is created if it does not exist. All members have to share texts. Repeating a merge makes the
    same revision. ``kept`` is the share of ‖ΔW‖² that remains after a cut to a rank.
    """
    target = new_model(caller, body.into)
    members = gateway_of(request).hosts.members
    revisions = {
        name: revision_to_merge(name, await members.of_model(named_model(caller, name)))
        for name in dict.fromkeys(body.models)
    }
    await room_for("bytes")
    try:
        await gateway_of(request).hosts.show_model(target)
    except ModelNotFound:
        await room_for("people")
    method = "sum" if body.method == LINEAR else body.method
    options = MergeOptions(method, body.rank, body.density, body.seed)
    made = await adapter_service_of(request).merge(revisions, target, body.weights, options)
    merged = MergeObject(
        model=target.name,
        revision=RevisionObject.of(made.revision),
        kept=made.kept,
        warning=LINEAR_WARNING if body.method == LINEAR else None,
    )
    return answer(merged, status_code=201)

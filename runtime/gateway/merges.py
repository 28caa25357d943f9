"""``/v1/population/merge``: one revision of several members'."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.members import revision_to_merge
from populace.gateway.adapter_desk import MergeChoice
from populace.gateway.context import Caller, KeyedRoute, gateway_of
from populace.gateway.personal_models import revision_body
from populace.gateway.revisions import desk_of
from populace.gateway.schema import MergeBody
from populace.gateway.target import named_model, new_model

router = APIRouter(route_class=KeyedRoute)


@router.post("/v1/population/merge", status_code=201)
async def merge(request: Request, tenant: Caller, body: MergeBody) -> Response:
    """Merge what members' adapters add to the base into a revision of ``into``, which becomes its ``latest``.

    ``into`` is created if there is none. All members have to share texts. The same merge again is the same
    revision. ``kept`` is the share of ‖ΔW‖² that a cut to a rank left.
    """
    target = new_model(tenant, body.into)
    members = gateway_of(request).hosts.members
    revisions = {
        name: revision_to_merge(name, await members.of_model(named_model(tenant, name)))
        for name in dict.fromkeys(body.models)
    }
    choice = MergeChoice(body.method, body.weights, body.rank, body.density, body.seed)
    made = await desk_of(request).merge(revisions, target, choice)
    return JSONResponse(
        {
            "object": "population.merge",
            "model": target.name,
            "revision": revision_body(made.revision),
            "kept": made.kept,
            "warning": made.warning,
        },
        status_code=201,
    )

"""``/v1/personal-models/{name}/contribution``: whether everybody may learn from a model."""

from fastapi import Request
from fastapi.responses import Response

from populace.api.contributions import ContributionObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model

router = keyed_router()

CONTRIBUTION_PATH = "/v1/personal-models/{name}/contribution"


@router.get(CONTRIBUTION_PATH, response_model=ContributionObject)
@needs("read")
async def show_contribution(request: Request, caller: Caller, name: str) -> Response:
    """Say whether the community may learn from this model, and under which id revisions name it."""
    contributors = gateway_of(request).hosts.contributors
    return answer(ContributionObject.of(await contributors.of_model(named_model(caller, name))))


@router.put(CONTRIBUTION_PATH, response_model=ContributionObject)
@needs("tenant")
async def contribute(request: Request, caller: Caller, name: str) -> Response:
    """Let the community learn from the replies of this model that were liked, from its next training on."""
    contributors = gateway_of(request).hosts.contributors
    return answer(ContributionObject.of(await contributors.consent(named_model(caller, name), agrees=True)))


@router.delete(CONTRIBUTION_PATH, response_model=ContributionObject)
@needs("tenant")
async def withdraw(request: Request, caller: Caller, name: str) -> Response:
    """End that. The next training of the community begins without this model's text, and so does one now."""
    contributors = gateway_of(request).hosts.contributors
    return answer(ContributionObject.of(await contributors.consent(named_model(caller, name), agrees=False)))

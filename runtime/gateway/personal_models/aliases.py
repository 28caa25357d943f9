"""``/v1/personal-models/{name}/aliases/{alias}``: which revision an alias of a model names."""

from fastapi import Request
from fastapi.responses import Response

from populace.api.models import ModelObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model
from populace.gateway.personal_models.schema import Alias, AliasBody

router = keyed_router()

ALIAS_PATH = "/v1/personal-models/{name}/aliases/{alias}"


@router.put(ALIAS_PATH, response_model=ModelObject)
@needs("tenant")
async def move_alias(request: Request, caller: Caller, name: str, alias: Alias, body: AliasBody) -> Response:
    """Move the alias to a revision of the model: a digest, the beginning of one, or another alias.

    An engine prewarms the revision first. Which turns count as learned does not change, as it does with
    ``rollback``.
    """
    view = await gateway_of(request).hosts.move_alias(named_model(caller, name), alias, body.revision)
    return answer(ModelObject.of(view))


@router.delete(ALIAS_PATH, response_model=ModelObject)
@needs("tenant")
async def remove_alias(request: Request, caller: Caller, name: str, alias: Alias) -> Response:
    """Remove an alias other than ``latest``, and return the model. The revision stays."""
    view = await gateway_of(request).hosts.remove_alias(named_model(caller, name), alias)
    return answer(ModelObject.of(view))

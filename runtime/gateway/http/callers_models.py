"""The personal models that a caller may use."""

from contextlib import suppress

from populace.actors.api_keys import KeyHolder
from populace.actors.hosts import Hosts, ModelPage, ModelView
from populace.actors.turn import ModelId
from populace.storage.records.errors import ModelNotFound


async def models_of(
    hosts: Hosts, caller: KeyHolder, *, after: str | None = None, limit: int, prefix: str = ""
) -> ModelPage:
    """List the models that the caller's key is for, as ``Hosts.list_models`` lists those of a tenant."""
    if caller.models is None:
        return await hosts.list_models(caller.tenant, after=after, limit=limit, prefix=prefix)
    views: list[ModelView] = []
    for name in sorted(caller.models):
        if name.startswith(prefix) and (after is None or name > after) and len(views) < limit:
            with suppress(ModelNotFound):
                views.append(await hosts.show_model(ModelId(caller.tenant, name)))
    return ModelPage(tuple(views), views[-1].model.name if len(views) == limit else None)

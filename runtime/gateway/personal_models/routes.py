"""``/v1/models`` as OpenAI clients know it, and ``/v1/personal-models`` to create, show and erase."""

from collections.abc import Iterator
from importlib import metadata
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from populace.actors.api_keys import KeyHolder
from populace.actors.hosts import ModelView
from populace.actors.revision_names import find_revision
from populace.api.models import DeletedModelObject, ModelObject, OpenAIModelObject, RevisionObject
from populace.api.objects import Page, PartialPage, seconds
from populace.api.server import API_VERSION, BaseObject, PopulationObject
from populace.api.turns import InteractionObject
from populace.gateway.http.answers import answer
from populace.gateway.http.body import ExactInteger
from populace.gateway.http.callers_models import models_of
from populace.gateway.http.context import Caller, Gateway, gateway_of, keyed_router
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import (
    BASE_MODEL,
    LATEST,
    PEEK_SUFFIX,
    POPULATION_MODEL,
    named_model,
    new_model,
    parse_target,
)
from populace.gateway.personal_models.schema import NewModelBody

router = keyed_router()

Limit = Annotated[int, Query(ge=1, le=1000)]
Start = Annotated[ExactInteger, Query()]

BASE = OpenAIModelObject(id=BASE_MODEL, created=0, owned_by="populace")
POPULATION = OpenAIModelObject(id=POPULATION_MODEL, created=0, owned_by="populace")


@router.get("/v1/models", response_model=Page[OpenAIModelObject])
@needs("read")
async def list_openai_models(
    request: Request, caller: Caller, after: str | None = None, limit: Limit = 1000
) -> Response:
    """List every id that the caller may chat with; ``after`` and ``limit`` page by personal models.

    The first page begins with ``base`` and ``population``. A personal model has its name, ``name:peek``, and
    ``name@alias`` for each alias but ``latest``. ``after`` may be any of a model's ids.
    """
    gateway = gateway_of(request)
    name = None if after is None else _name_in(after)
    page = await models_of(gateway.hosts, caller, after=name, limit=limit)
    shared = _shared_by_all(gateway, caller) if after is None else ()
    models = [
        _openai_model(identity, view.created_ms, caller.tenant)
        for view in page.models
        for identity in _ids(view)
    ]
    return answer(Page[OpenAIModelObject](data=(*shared, *models), after=page.after))


@router.get("/v1/models/{name}", response_model=OpenAIModelObject)
@needs("read")
async def show_openai_model(request: Request, caller: Caller, name: str) -> Response:
    gateway = gateway_of(request)
    if name == POPULATION_MODEL and gateway.aggregator is not None:
        caller.check_all_models()
        return answer(POPULATION)
    target = parse_target(caller, name)
    if target.model is None:
        return answer(BASE)
    view = await gateway.hosts.show_model(target.model)
    if target.alias not in view.aliases and target.alias != LATEST:
        known = await gateway.hosts.list_revisions(target.model)
        find_revision(target.model.name, known, view.aliases, target.alias)
    return answer(_openai_model(name, view.created_ms, caller.tenant))


@router.get("/v1/population", response_model=PopulationObject)
@needs("read")
async def show_population(request: Request, caller: Caller) -> Response:
    """Return the tenant of the key, the base model, and the version of the API."""
    gateway = gateway_of(request)
    return answer(
        PopulationObject(
            version=metadata.version("populace"),
            api=API_VERSION,
            tenant=caller.tenant,
            base=BaseObject.of(gateway.engine.base),
            turn_seconds_max=gateway.turn_seconds_max,
        )
    )


@router.post("/v1/personal-models", status_code=201, response_model=ModelObject)
@needs("tenant")
async def create_model(request: Request, caller: Caller, body: NewModelBody) -> Response:
    """Create a personal model. It uses the base model until it has a revision of its own."""
    gateway = gateway_of(request)
    model = new_model(caller, body.name)
    await room_for("people")
    view = await gateway.hosts.create_model(model)
    return answer(ModelObject.of(view), status_code=201)


@router.get("/v1/personal-models", response_model=PartialPage[ModelObject])
@needs("read")
async def list_models(
    request: Request, caller: Caller, after: str | None = None, limit: Limit = 100, prefix: str = ""
) -> Response:
    """List the caller's models by name, from the one after ``after`` on.

    Only those whose names begin with ``prefix``. A page costs the same wherever it begins. ``missing`` names
    what is left out as it is damaged: people of a shard that cannot be opened, or one of them.
    """
    gateway = gateway_of(request)
    page = await models_of(gateway.hosts, caller, after=after, limit=limit, prefix=prefix)
    return answer(
        PartialPage[ModelObject](
            data=tuple(ModelObject.of(view) for view in page.models), after=page.after, missing=page.missing
        )
    )


@router.get("/v1/personal-models/{name}", response_model=ModelObject)
@needs("read")
async def show_model(request: Request, caller: Caller, name: str) -> Response:
    gateway = gateway_of(request)
    return answer(ModelObject.of(await gateway.hosts.show_model(named_model(caller, name))))


@router.post("/v1/personal-models/{name}/fork", status_code=201, response_model=ModelObject)
@needs("tenant")
async def fork_model(request: Request, caller: Caller, name: str, body: NewModelBody) -> Response:
    """Copy this model to a new one, with log, memory, revisions and aliases."""
    hosts = gateway_of(request).hosts
    source, target = named_model(caller, name), new_model(caller, body.name)
    await room_for("people", "bytes")
    view = await hosts.import_model(target, await hosts.export_model(source))
    return answer(ModelObject.of(view), status_code=201)


@router.get("/v1/personal-models/{name}/revisions", response_model=Page[RevisionObject])
@needs("read")
async def list_revisions(request: Request, caller: Caller, name: str) -> Response:
    """List the model's revisions, oldest first, each with its lineage and whether it is ready."""
    found = await gateway_of(request).hosts.list_revisions(named_model(caller, name))
    return answer(
        Page[RevisionObject](data=tuple(RevisionObject.of(revision) for revision in found), after=None)
    )


@router.delete("/v1/personal-models/{name}", response_model=DeletedModelObject)
@needs("tenant")
async def erase_model(request: Request, caller: Caller, name: str) -> Response:
    """Erase the model and everything its person said, after its running turn."""
    gateway = gateway_of(request)
    await gateway.hosts.erase_model(named_model(caller, name))
    return answer(DeletedModelObject(id=name))


@router.get("/v1/personal-models/{name}/interactions", response_model=Page[InteractionObject])
@needs("read")
async def read_log(
    request: Request, caller: Caller, name: str, start: Start = 0, limit: Limit = 100
) -> Response:
    """Read the model's log from position ``start``, or from its ``log_start`` if that is later."""
    gateway = gateway_of(request)
    model = named_model(caller, name)
    log = await gateway.hosts.read_log(model, start=start, limit=limit)
    following = str(log[-1].position + 1) if len(log) == limit else None
    return answer(
        Page[InteractionObject](data=tuple(InteractionObject.of(turn) for turn in log), after=following)
    )


def _shared_by_all(gateway: Gateway, caller: KeyHolder) -> Iterator[OpenAIModelObject]:
    """Walk what a caller may chat with and no person is."""
    if caller.may_use(BASE_MODEL):
        yield BASE
    if gateway.aggregator is not None and caller.models is None:
        yield POPULATION


def _ids(view: ModelView) -> list[str]:
    """The ids under which a model answers, but for those of its revisions."""
    name = view.model.name
    aliases = sorted(alias for alias in view.aliases if alias != LATEST)
    return [name, f"{name}{PEEK_SUFFIX}", *(f"{name}@{alias}" for alias in aliases)]


def _name_in(identity: str) -> str:
    """The name in a model's id. Clients page by the last id of a page."""
    return identity.removesuffix(PEEK_SUFFIX).partition("@")[0]


def _openai_model(name: str, created_ms: int, owner: str) -> OpenAIModelObject:
    return OpenAIModelObject(id=name, created=seconds(created_ms), owned_by=owner)

"""A protocol of the hosts for the whole population, made from the protocol: each call is sent to its host.

A class has only what is more than that: what every host is asked for, and merged.
"""

import inspect
import secrets
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property, reduce
from typing import Any, Protocol, TypeVar

from populace.actors.api_keys import ApiKey, ApiKeys
from populace.actors.contributors import Contribution, Contributors
from populace.actors.keepers.job_views import newest_first
from populace.actors.keepers.key_keeper import oldest_first
from populace.actors.keepers.member_keeper import by_name
from populace.actors.keepers.tenant_keeper import merged
from populace.actors.members import Members, MemberView
from populace.actors.reward_tasks import RewardTask
from populace.actors.tenants import Limits, Tenants, Usage
from populace.actors.training import (
    KeptTraining,
    OpenJob,
    TrainingJob,
    TrainingJobs,
    UnsettledFeedback,
)
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ChatRequest, ModelId
from populace.hosting.directory.operations import PROTOCOLS, Method, P, T, declared_by, operation_of
from populace.policies.placement import KEY_SHARD_TENANT

Made = TypeVar("Made", bound=type)

PLACED_BY_NAME = ("keys.", "tenants.", "rates.")
"""What is said of a key or of a tenant is in the shard of its name."""


class Router(Protocol):
    """Reaches the hosts. Results are returned as the hosts return them."""

    def send(
        self, model: ModelId, method: Method[P, T], *args: P.args, **options: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call the model's host, until it responds if the method may take effect twice without harm."""
        ...

    async def everywhere(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> list[T]:
        """Call every host until it responds; the results are in the hosts' order."""
        ...


class Part:
    """One of the protocols that ``Hosts`` has as properties."""

    def __init__(self, router: Router) -> None:
        self._router = router


def sends(made: Made) -> Made:
    """Give a class those methods of its protocol that it has not, each sending its call to the model's host.

    A property of the protocol that is another protocol becomes that one's part, made when it is first asked
    for. What an instance sends with is its ``_router``.
    """
    protocol = next(base for base in made.__mro__ if base in PROTOCOLS.values())
    for name, declared in declared_by(protocol).items():
        if name in vars(made):
            continue
        if inspect.iscoroutinefunction(declared):
            setattr(made, name, _sending(declared))
        elif isinstance(declared, property):
            part = cached_property(_part_of(PROTOCOLS[f"{name}."]))
            part.__set_name__(made, name)
            setattr(made, name, part)
    return made


def _sending(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    name = operation_of(method).name
    _, *parameters = inspect.signature(method).parameters.values()
    if not parameters or (parameters[0].annotation is str and not name.startswith(PLACED_BY_NAME)):
        raise TypeError(f"{name} names no host: write out what becomes of the answers of all")
    first = parameters[0].name

    def send(self: Part, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        place = _place_of(args[0] if args else options[first])
        return self._router.send(place, method, *args, **options)  # pyright: ignore[reportPrivateUsage]

    send.__doc__ = method.__doc__
    return send


def _place_of(first: Any) -> ModelId:
    """Where a call goes, by its first argument: a tenant and a key have a shard, as a model has."""
    if isinstance(first, ModelId):
        return first
    if isinstance(first, str):
        return ModelId(KEY_SHARD_TENANT, first)
    if isinstance(first, ApiKey):
        return ModelId(KEY_SHARD_TENANT, first.key_id)
    if isinstance(first, ChatRequest):
        return first.turn.model
    place: ModelId = first.model
    return place


def _part_of(protocol: type) -> Callable[[Any], Part]:
    """Return what makes the part of a protocol for an owner that is a router."""
    return next((made for made in _PARTS if protocol in made.__mro__), None) or sends(
        type(f"{protocol.__name__}OfAll", (Part, protocol), {})
    )


@sends
class JobsOfAll(Part, TrainingJobs):
    """The training jobs of the whole population."""

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
        note: str = "",
    ) -> TrainingJob:
        # A generated key makes a request that is repeated after a lost response the same training.
        key = key or secrets.token_hex(16)
        return await self._router.send(model, TrainingJobs.ask, model, options, key, tuple(tasks), note)

    async def of_tenant(self, tenant: str, *, limit: int = 100) -> tuple[TrainingJob, ...]:
        pages = await self._router.everywhere(TrainingJobs.of_tenant, tenant, limit=limit)
        return newest_first([job for page in pages for job in page])[:limit]

    async def open_jobs(self, *, whole: bool = False) -> tuple[OpenJob, ...]:
        pages = await self._router.everywhere(TrainingJobs.open_jobs, whole=whole)
        found = (open_job for page in pages for open_job in page)
        return tuple(sorted(found, key=lambda open_job: (open_job.job.created_ms, open_job.job.model)))

    async def kept(self) -> tuple[KeptTraining, ...]:
        pages = await self._router.everywhere(TrainingJobs.kept)
        return tuple(kept for page in pages for kept in page)

    async def unsettled(self, *, limit: int = 256) -> tuple[UnsettledFeedback, ...]:
        pages = await self._router.everywhere(TrainingJobs.unsettled, limit=limit)
        return tuple(feedback for page in pages for feedback in page)


@sends
class MembersOfAll(Part, Members):
    """Those of the whole population who take part in its answers."""

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]:
        pages = await self._router.everywhere(Members.of_tenant, tenant)
        return by_name([member for page in pages for member in page])

    async def unprofiled(self, probes: str, *, limit: int = 64) -> tuple[MemberView, ...]:
        pages = await self._router.everywhere(Members.unprofiled, probes, limit=limit)
        return tuple(member for page in pages for member in page)[:limit]


@sends
class ContributorsOfAll(Part, Contributors):
    """The consents of the whole population."""

    async def of_tenant(self, tenant: str) -> tuple[Contribution, ...]:
        pages = await self._router.everywhere(Contributors.of_tenant, tenant)
        return tuple(sorted(one for page in pages for one in page))


@sends
class KeysOfAll(Part, ApiKeys):
    """The API keys of the whole population, each in the shard that its id is placed in."""

    async def of_tenant(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        pages = await self._router.everywhere(ApiKeys.of_tenant, tenant)
        return oldest_first(key for page in pages for key in page)


@sends
class TenantsOfAll(Part, Tenants):
    """The tenants: what is said of one is in one shard, what it has is in all."""

    async def usage(self, tenant: str, *, with_bytes: bool = True) -> Usage:
        counted = await self._router.everywhere(Tenants.usage, tenant, with_bytes=with_bytes)
        return reduce(Usage.plus, counted, Usage())

    async def all(self) -> dict[str, Limits]:
        found = reduce(merged, await self._router.everywhere(Tenants.all), {})
        return dict(sorted(found.items()))


_PARTS = (JobsOfAll, MembersOfAll, ContributorsOfAll, KeysOfAll, TenantsOfAll)

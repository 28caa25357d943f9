"""A population for asyncio: the verbs of ``Population``, awaited."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from warnings import warn

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport
from populace.actors.engine import BaseInfo, Message
from populace.actors.errors import InvalidRequest
from populace.actors.hosts import HostStatistics, ModelView, lacking
from populace.actors.members import MemberView
from populace.actors.merging import LINEAR, LINEAR_WARNING, MergedRevision
from populace.actors.names import check_model_name
from populace.actors.request_log import RequestLog
from populace.actors.turn import ModelId
from populace.client.async_model import AsyncModel
from populace.client.connection import Connection, MergeRequest, TellVote
from populace.client.options import AskOptions, check_options
from populace.storage.records.errors import ModelExists

PAGE = 1000


class AsyncPopulation:
    """All personal models of one tenant, used on one event loop.

    Use ``populace.connect_async``. Each method does and raises the same as that of ``Population``.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.closed: bool = False

    @property
    def tenant(self) -> str:
        return self.connection.tenant

    @property
    def base(self) -> BaseInfo:
        return self.connection.base

    def __repr__(self) -> str:
        return f"<population {self.tenant} on {self.base.name}{', closed' if self.closed else ''}>"

    def model(self, name: str) -> AsyncModel:
        """See ``Population.model``."""
        model = ModelId(self.tenant, name)
        check_model_name(model)
        return AsyncModel(self.connection, model)

    async def create(
        self, name: str, *, adapter: str | Path | None = None, exist_ok: bool = False
    ) -> AsyncModel:
        """See ``Population.create``."""
        handle = self.model(name)
        with suppress(ModelExists) if exist_ok else nullcontext():
            if adapter is None:
                await self.connection.hosts.create_model(handle.id)
            else:
                await self.connection.publish(handle.id, Path(adapter), create=True)
        return handle

    async def models(self, prefix: str = "") -> AsyncGenerator[ModelView, None]:
        """Walk all models whose names begin with ``prefix`` by name, a page at a time.

        A ``RuntimeWarning`` names what the list does without, as it is damaged.
        """
        after: str | None = None
        missing = frozenset[str]()
        while True:
            page = await self.connection.hosts.list_models(
                self.tenant, after=after, limit=PAGE, prefix=prefix
            )
            if more := {*page.missing} - missing:
                warn(lacking(more), RuntimeWarning, stacklevel=2)
                missing |= more
            for view in page.models:
                yield view
            if page.after is None:
                return
            after = page.after

    async def erase(self, name: str) -> None:
        """See ``Population.erase``."""
        await self.model(name).erase()

    async def export(self, name: str, path: str | Path, *, overwrite: bool = False) -> Path:
        """See ``Population.export``."""
        return await self.model(name).export(path, overwrite=overwrite)

    async def import_model(self, path: str | Path, name: str | None = None) -> AsyncModel:
        """See ``Population.import_model``."""
        view = await self.connection.import_model(Path(path), name)
        return AsyncModel(self.connection, view.model)

    async def fork(self, name: str, new_name: str) -> AsyncModel:
        """See ``ModelHandle.fork``."""
        return await self.model(name).fork(new_name)

    async def members(self) -> tuple[MemberView, ...]:
        """See ``Population.members``."""
        return await self.connection.hosts.members.of_tenant(self.tenant)

    async def report(self) -> PopulationReport:
        """See ``Population.report``."""
        return await self.connection.report()

    async def request_log(self, request_id: str) -> RequestLog:
        """See ``Population.request_log``."""
        return await self.connection.request_log(request_id)

    async def ask(
        self,
        question: str,
        *,
        models: Sequence[str] | None = None,
        on_vote: TellVote | None = None,
        **options: Unpack[AskOptions],
    ) -> PopulationAnswer:
        """See ``Population.ask``."""
        check_options(options, AskOptions, "ask")
        given: dict[str, Any] = dict(options)
        if isinstance(given.get("choices"), str):
            raise InvalidRequest("choices is a list of texts, not one text.", "choices")
        if given.get("choices"):
            given = {"kind": "choice", **given, "choices": tuple(given["choices"])}
        asked = Question((Message("user", question),), **given)
        return await self.connection.ask(asked, models, on_vote)

    async def merge(
        self,
        models: Sequence[str],
        into: str,
        *,
        weights: Mapping[str, float] | None = None,
        method: str = "sum",
        rank: int | None = None,
        density: float = 0.5,
        seed: int = 0,
    ) -> MergedRevision:
        """See ``Population.merge``."""
        if method == LINEAR:
            warn(LINEAR_WARNING, stacklevel=2)
            method = "sum"
        target = self.model(into).id.name
        names = tuple(dict.fromkeys(models))
        return await self.connection.merge(MergeRequest(names, target, weights, method, rank, density, seed))

    async def statistics(self) -> tuple[HostStatistics, ...]:
        """See ``Population.statistics``."""
        return await self.connection.statistics()

    async def close(self) -> None:
        """Close the connection; the population keeps running. Safe to call twice."""
        if not self.closed:
            self.closed = True
            await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

"""Asks a population: chooses members, lets them answer, and combines their votes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from populace.actors.aggregation.ballot import Ballot, Member, Vote
from populace.actors.aggregation.choosing import accuracy_of, chosen_members
from populace.actors.aggregation.ensemble import PopulationAnswer, combined
from populace.actors.aggregation.kept_reports import KeptReports
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport
from populace.actors.clock import Clock
from populace.actors.engine import AdapterRef, Engine
from populace.actors.errors import AdapterMismatch, InvalidRequest, NoMember
from populace.actors.hosts import Hosts
from populace.actors.members import MemberView
from populace.actors.turn import BASE_REVISION, ModelId
from populace.policies.diversity.disclosure import DisclosureRule
from populace.storage.records.errors import ModelNotFound


class ProbeSet(NamedTuple):
    """The probes that profiles are made with: their digest, and the number of each probe's right choice."""

    digest: str
    labels: NDArray[np.int64]


class Aggregator:
    """Answers for the whole population on one engine. Members record nothing of what they answer here."""

    def __init__(
        self,
        hosts: Hosts,
        engine: Engine,
        adapter_of: Callable[[str], AdapterRef],
        *,
        probes: ProbeSet,
        clock: Clock,
        rule: DisclosureRule | None = None,
    ) -> None:
        self._hosts = hosts
        self._engine = engine
        self._adapter_of = adapter_of
        self._probes = probes
        self._ballot = Ballot(engine, clock)
        self._rule = rule or DisclosureRule()
        self._reports = KeptReports(clock)

    async def ask(
        self, tenant: str, question: Question, models: Sequence[str] | None = None
    ) -> AsyncGenerator[PopulationAnswer]:
        """Yield the combined result of the votes so far after each vote; the last one is the answer.

        ``models`` names the members that answer, instead of ``question.k`` chosen ones. Raises
        ``InvalidRequest``, ``PopulationTooSmall``, ``ModelNotFound``, ``NoMember`` for a model that takes no
        part, and ``AdapterMismatch`` for a model of another base.
        """
        question.check()
        views = await self._views(tenant, question, models)
        least = self._rule.voted_min
        if len(views) < least:
            raise InvalidRequest(
                f"Of fewer than {least} votes nothing is told: ask {least} members or more.",
                "k" if models is None else "models",
            )
        members = [
            Member(
                view.model.name,
                None if view.revision == BASE_REVISION else self._adapter_of(view.revision),
                view.sharing,
                accuracy_of(view, self._probes.digest),
            )
            for view in views
        ]
        votes = {place: Vote(place, "asked") for place in range(len(members))}
        async with aclosing(self._ballot.votes(tenant, question, members)) as came:
            async for vote in came:
                votes[vote.place] = vote
                if any(other.state == "asked" for other in votes.values()):
                    yield combined(question, members, list(votes.values()), self._rule)
        for place, view in enumerate(views):
            if not await self._takes_part(view):
                votes[place] = Vote(place, "gone", reason="it takes part no longer")
        yield combined(question, members, list(votes.values()), self._rule)

    async def report(self, tenant: str) -> PopulationReport:
        """Describe the tenant's members by their profiles, without asking them."""
        return await self._reports.of_tenant(tenant, lambda: self._hosts.members.of_tenant(tenant))

    async def _views(self, tenant: str, question: Question, models: Sequence[str] | None) -> list[MemberView]:
        base = self._engine.base.fingerprint
        if models is None:
            found = [member for member in await self._hosts.members.of_tenant(tenant) if member.base == base]
            # Choosing among thousands takes a while, and the event loop has others to serve.
            return await asyncio.to_thread(
                chosen_members, question, found, self._probes.labels, self._probes.digest
            )
        views: list[MemberView] = []
        for name in dict.fromkeys(models):
            view = await self._hosts.members.of_model(ModelId(tenant, name))
            if view is None:
                raise NoMember(name)
            if view.base != base:
                raise AdapterMismatch(f"{name} is of the base {view.base[:12]}, and here it is {base[:12]}")
            views.append(view)
        return views

    async def _takes_part(self, view: MemberView) -> bool:
        """Whether the member still takes part: it may have been erased, or have withdrawn, meanwhile."""
        try:
            now = await self._hosts.members.of_model(view.model)
        except ModelNotFound:
            return False
        return now is not None and now.since_ms == view.since_ms

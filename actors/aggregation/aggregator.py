"""Asks a population: chooses members, lets them answer, and combines their votes.

Members are chosen as the question says, by how they answered the probes. No member is run to be chosen. A
member without a profile of its present revision counts as one at chance that is like no other. It comes
behind the profiled ones, or it would be chosen for being different.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from populace.actors.aggregation.ballot import Ballot, Member, Vote
from populace.actors.aggregation.ensemble import PopulationAnswer, combined
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport, population_report
from populace.actors.clock import Clock, Timer
from populace.actors.engine import AdapterRef, Engine
from populace.actors.errors import AdapterMismatch, InvalidRequest, NoMember, PopulationTooSmall
from populace.actors.hosts import Hosts
from populace.actors.members import MemberView
from populace.actors.turn import BASE_REVISION, ModelId
from populace.policies.diversity.disclosure import DisclosureRule
from populace.policies.diversity.measures import error_directions
from populace.policies.diversity.selection import diverse_k, greedy_information_rows, random_k, top_k
from populace.storage.records.errors import ModelNotFound

REPORTS_MAX = 64
"""Tenants whose last report is kept; that of a thousand members has 0.13 MB."""

KEPT_SECONDS = 300.0
"""A report names members, also those who have been erased or withdrew since, so it is dropped after this."""


class _Kept(NamedTuple):
    """A report, a digest of what it was made from, and the timer that drops it."""

    seen: bytes
    report: PopulationReport
    end: Timer


class KeptReports:
    """Makes a tenant's report again only once a member has come, left or changed, as every pair is compared.

    One tenant's report is made once at a time; other tenants do not wait for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        """In the order in which they were asked for."""
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A tenant's lock is here for as long as a call holds it or waits for it."""

    @property
    def tenants(self) -> frozenset[str]:
        """The tenants whose report is held in memory now."""
        return frozenset(self._kept)

    async def of_tenant(
        self, tenant: str, members: Callable[[], Awaitable[Sequence[MemberView]]]
    ) -> PopulationReport:
        """Report on the tenant's present members, and keep the report for ``KEPT_SECONDS``."""
        async with self._making.setdefault(tenant, asyncio.Lock()):
            now = await members()
            # On a thread, as walking many profiles takes a while too.
            seen, report = await asyncio.to_thread(_reported, now, self._kept.get(tenant))
            self._drop(tenant)
            end = self._clock.call_later(KEPT_SECONDS, lambda: self._drop(tenant))
            self._kept[tenant] = _Kept(seen, report, end)
            if len(self._kept) > REPORTS_MAX:
                self._drop(next(iter(self._kept)))
        return report

    def _drop(self, tenant: str) -> None:
        if (kept := self._kept.pop(tenant, None)) is not None:
            kept.end.cancel()


def _reported(members: Sequence[MemberView], known: _Kept | None) -> tuple[bytes, PopulationReport]:
    """Report on the members, unless ``known`` is of the same. The bytes are a digest of what is compared."""
    digest = hashlib.sha256()
    for member in members:
        # Of one revision, one set of probes makes one profile.
        probes = member.profile.probes if member.profile is not None and member.is_profiled else None
        digest.update(repr((member.model, member.revision, member.sharing, probes)).encode())
    seen = digest.digest()
    return seen, known.report if known is not None and known.seen == seen else population_report(members)


def chosen_members(
    question: Question, members: Sequence[MemberView], labels_N: NDArray[np.int64], probes: str
) -> list[MemberView]:
    """Choose ``question.k`` of the members, in the order in which they were chosen.

    ``labels_N`` are the right choices of the probe set with the digest ``probes``. Raises
    ``PopulationTooSmall``.
    """
    if question.k > len(members):
        raise PopulationTooSmall(question.k, len(members))
    ordered = sorted(members, key=lambda member: member.model)
    if question.select == "random":
        return [ordered[at] for at in random_k(len(ordered), question.k, question.seed)]
    known = [member for member in ordered if accuracy_of(member, probes) is not None]
    others = [member for member in ordered if accuracy_of(member, probes) is None]
    places = _places(question, known, labels_N) if known else []
    found = [known[at] for at in places] + others
    return found[: question.k]


def accuracy_of(member: MemberView, probes: str) -> float | None:
    """The share of probes that the member answers right; None without a profile of its present revision."""
    profile = member.profile
    return profile.accuracy if profile and member.is_profiled and profile.probes == probes else None


def _places(question: Question, known: Sequence[MemberView], labels_N: NDArray[np.int64]) -> list[int]:
    profiles = [member.profile for member in known if member.profile is not None]
    accuracy_M = [profile.accuracy for profile in profiles]
    if question.select == "best":
        return top_k(accuracy_M, question.k)
    log_probs_MNK = np.array([profile.table for profile in profiles])
    if question.select == "diverse":
        return diverse_k(accuracy_M, np.exp(log_probs_MNK), question.k)
    wrong_MN = log_probs_MNK.argmax(2) != labels_N
    directions_MN = error_directions(wrong_MN)
    return greedy_information_rows(accuracy_M, lambda at: directions_MN @ directions_MN[at], question.k)


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

"""A population's report is kept for a while and no longer, and no tenant waits for another's."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from populace.actors.aggregation.aggregator import KEPT_SECONDS, REPORTS_MAX, KeptReports
from populace.actors.members import MemberView
from populace.policies.diversity.probes import LABELS
from tests.actors.aggregation.test_report import member
from tests.actors.fakes import FakeClock

ADA = member("ada", np.arange(len(LABELS)) % 3 > 0)


class People:
    """The members of a tenant, who are read once ``gate`` is open; ``times`` counts how often they were."""

    def __init__(self, *members: MemberView) -> None:
        self.members = members
        self.times = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Sequence[MemberView]:
        self.times += 1
        await self.gate.wait()
        return self.members


@pytest.fixture
def kept(clock: FakeClock) -> KeptReports:
    return KeptReports(clock)


async def test_a_report_that_is_not_asked_for_again_is_dropped(kept: KeptReports, clock: FakeClock) -> None:
    people = People(ADA)
    first = await kept.of_tenant("acme", people)
    clock.advance(KEPT_SECONDS - 1)
    assert await kept.of_tenant("acme", people) is first
    clock.advance(KEPT_SECONDS - 1)
    assert kept.tenants == {"acme"}, "it was asked for meanwhile"

    clock.advance(1)

    assert kept.tenants == frozenset()
    again = await kept.of_tenant("acme", people)
    assert (again is first, again.members) == (False, first.members)


async def test_a_report_names_no_one_who_has_left(kept: KeptReports) -> None:
    people = People(ADA, member("bob", None))
    assert (await kept.of_tenant("acme", people)).unprofiled == ("bob",)
    people.members = (ADA,)

    assert (await kept.of_tenant("acme", people)).unprofiled == ()


async def test_the_tenants_who_asked_last_are_kept(kept: KeptReports, clock: FakeClock) -> None:
    people = People()
    for number in range(REPORTS_MAX):
        await kept.of_tenant(str(number), people)
    await kept.of_tenant("0", people)
    await kept.of_tenant("new", people)

    assert kept.tenants == {"0", "new", *map(str, range(2, REPORTS_MAX))}
    clock.advance(KEPT_SECONDS)
    assert kept.tenants == frozenset()


async def test_a_tenant_waits_for_its_own_report_and_for_no_others(kept: KeptReports) -> None:
    ours, theirs = People(ADA), People()
    ours.gate.clear()
    asked = [asyncio.create_task(kept.of_tenant("acme", ours)) for _ in range(3)]

    assert (await kept.of_tenant("globex", theirs)).total == 0
    assert ours.times == 1
    ours.gate.set()
    first, *others = await asyncio.gather(*asked)

    assert all(other is first for other in others)
    assert ours.times == 3

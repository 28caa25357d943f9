"""Each host answers an operator for itself: one that is dead or slow takes no other one out of sight."""

import asyncio
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.errors import HostUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import HostStatistics
from populace.actors.hosts_report import HostAnswer, HostsReport
from populace.hosting.directory.directory import LocalHostClient
from populace.hosting.directory.operations import Method, P, T
from populace.hosting.host_survey import HostSurvey
from populace.hosting.opening_host import CANNOT_OPEN
from populace.storage.store import Store
from tests.actors.fakes import FailingClient, FakeClock
from tests.actors.populations import SHARDS, local_hosts
from tests.limits import HANG_SECONDS

SECONDS_MAX = 0.05


@pytest.fixture
def hosts(tmp_path: Path) -> Generator[list[ModelHost]]:
    hosts = local_hosts(Store.create_or_open(tmp_path / "store", SHARDS), FakeClock())
    yield hosts
    for host in hosts:
        host.check_integrity()
        host.close()


class HangingClient:
    """A client of a host that takes calls, and answers once it is let go."""

    def __init__(self, host: ModelHost) -> None:
        self.go = asyncio.Event()
        self.calls = 0
        self._client = LocalHostClient(host)

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        self.calls += 1
        await self.go.wait()
        return await self._client.call(method, *args, **options)


def _settled(statistics: HostStatistics | None) -> HostStatistics:
    """Without the free disk, which others take meanwhile."""
    assert statistics is not None
    return replace(statistics, store=replace(statistics.store, disk_free_bytes=0))


async def test_hosts_that_answer_are_all_served(hosts: list[ModelHost]) -> None:
    survey = HostSurvey({host.name: LocalHostClient(host) for host in hosts}, shard_count=SHARDS)

    report = await survey.report()

    assert [answer.host for answer in report.answers] == [host.name for host in hosts]
    told = [answer.statistics for answer in report.answers]
    assert [_settled(one) for one in told] == [_settled((await host.statistics())[0]) for host in hosts]
    assert report.unserved_share == 0.0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HostUnavailable("populace-host-0", "it is restarting"), "does not answer"),
        (KeyError("fault"), "does not answer"),
        (
            HostUnavailable("populace-host-0", f"{CANNOT_OPEN} (master_key_refused)"),
            "serves nothing: its store cannot be opened (master_key_refused)",
        ),
    ],
)
async def test_a_host_that_fails_leaves_the_others_in_sight_and_is_asked_anew(
    hosts: list[ModelHost], error: Exception, told: str
) -> None:
    failing = FailingClient(LocalHostClient(hosts[0]), {"statistics": [error]})
    clients = {hosts[0].name: failing, hosts[1].name: LocalHostClient(hosts[1])}
    survey = HostSurvey(clients, shard_count=SHARDS)

    meanwhile, afterwards = await survey.report(), await survey.report()

    assert [answer.statistics is not None for answer in meanwhile.answers] == [False, True]
    assert [answer.lack for answer in meanwhile.answers] == [told, None]
    assert [answer.shards for answer in meanwhile.answers] == [2, 2]
    assert meanwhile.unserved_share == 0.5
    assert [answer.statistics is not None for answer in afterwards.answers] == [True, True]


async def test_a_host_that_hangs_is_waited_for_shortly_and_asked_once(hosts: list[ModelHost]) -> None:
    hanging = HangingClient(hosts[0])
    clients = {hosts[0].name: hanging, hosts[1].name: LocalHostClient(hosts[1])}
    survey = HostSurvey(clients, shard_count=SHARDS, seconds_max=SECONDS_MAX)

    reports = [await survey.report() for _ in range(3)]

    answered = [[answer.statistics is not None for answer in report.answers] for report in reports]
    assert (answered, hanging.calls) == ([[False, True]] * 3, 1)
    hanging.go.set()
    async with asyncio.timeout(HANG_SECONDS):
        while (await survey.report()).unserved_share > 0:
            pass


async def test_shards_that_a_host_lost_are_not_served(hosts: list[ModelHost]) -> None:
    [statistics] = await hosts[0].statistics()
    lost = replace(statistics, store=replace(statistics.store, shards_open=1))

    report = HostsReport((HostAnswer(hosts[0].name, 2, lost), HostAnswer(hosts[1].name, 2, statistics)))

    assert [answer.shards_unserved for answer in report.answers] == [1, 0]
    assert report.unserved_share == 0.25

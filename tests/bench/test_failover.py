"""The bench of failovers loses machines and finds what was acknowledged, and would see what was not there."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from populace.actors.host.model_host import ModelHost
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.settings.clock import SystemClock
from populace.storage.store import Store
from scripts.bench.failover.bench import COLUMNS, FailoverBench, bench_failover
from scripts.bench.failover.journal_latency import LatencyBench
from scripts.bench.failover.load import Audit, FailoverLoad, take_turn
from tests.actors.fakes import BASE

TINY = FailoverBench(
    rounds=1,
    clients=4,
    seconds=0.2,
    shards=4,
    losses=("store", "journal"),
    latency=LatencyBench((1, 2), 16, 1),
)


def quiet(step: str, share: float) -> None:
    assert 0 <= share <= 1, step


@pytest.mark.ray
@pytest.mark.release("benches")
def test_what_was_acknowledged_is_there_after_hosts_and_machines_were_killed(tmp_path: Path) -> None:
    report = bench_failover(TINY, tmp_path, report=quiet)

    assert list(tmp_path.iterdir()) == [], "nothing is left"
    assert {name for row in report.rows for name in row} <= set(COLUMNS)
    losses, latencies = report.rows[:2], report.rows[2:]
    assert [row["what"] for row in losses] == ["a host's process is killed", "a store node is lost"]
    assert losses[1]["count"] == TINY.clients
    assert [row["journal"] for row in latencies[:3]] == ["none", "async, directory", "sync, directory"]
    assert all(row["count"] == 16 for row in latencies)
    aims = {aim.name: aim.value for aim in report.aims}
    assert aims["acknowledged turns that were lost"] == 0
    assert aims["turns that took effect twice"] == 0
    assert int(report.notes[0].split()[0]) >= TINY.clients, "people talked"


async def test_a_turn_that_is_not_in_a_log_is_counted_as_lost(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", 2)
    host = ModelHost("host", store, range(2), base=BASE.fingerprint, clock=SystemClock())
    directory = Directory.over([LocalHostClient(host)], shard_count=2)
    load = FailoverLoad(directory, partial(take_turn, directory), clients=2, shards=2, hosts=1)
    await load.begin()
    served = await load.served_again(0.0, [0])
    await load.finish()
    audit = await load.audit()
    assert len(served) == 2
    assert audit.acknowledged >= 2
    assert (audit.lost, audit.doubled) == (0, 0)

    taken = load._clients[0].acknowledged
    never = replace(taken[-1].interaction, operation="never-committed")
    taken.append(replace(taken[-1], interaction=never))

    assert await load.audit() == Audit(audit.acknowledged + 1, 1, 0)
    host.close()

"""A backup that is made while a host serves has every turn that was acknowledged before it began."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ModelId
from populace.settings.environment import process_environment
from populace.storage.rows import ledger
from populace.storage.store import Store
from tests.actors.backup_command import restore
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS

MODELS = [ModelId("acme", f"model-{number}") for number in range(8)]


class Talk:
    """Every model takes one turn after the other, and others are made, erased and compacted away."""

    def __init__(self, host: ModelHost, clock: FakeClock) -> None:
        self.acknowledged = dict.fromkeys(MODELS, 0)
        self.compactions = 0
        self._host = host
        self._clock = clock

    async def round(self) -> None:
        for model in MODELS:
            turn = self.acknowledged[model]
            await take_turn(self._host, turn_of(model, f"op-{turn}"), f"{model.name} says {turn}" * 50)
            self.acknowledged[model] += 1
        doomed = ModelId("acme", "doomed")
        await self._host.create_model(doomed)
        await take_turn(self._host, turn_of(doomed, "op"))
        await self._host.erase_model(doomed)
        self._clock.advance(60)
        self.compactions += await self._host.compact_shards()


async def test_every_turn_that_was_acknowledged_before_the_backup_is_in_it(
    store: Store, make_host: MakeHost, clock: FakeClock, tmp_path: Path
) -> None:
    host = make_host(limits=replace(HostLimits(), shard_free_bytes_min=1))
    for model in MODELS:
        await host.create_model(model)
    talk = Talk(host, clock)
    for _ in range(5):
        await talk.round()
    before, compactions_before = dict(talk.acknowledged), talk.compactions

    backup = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "populace", "backup", str(tmp_path / "backup")),
        *("--keys", str(tmp_path / "keys"), "--data", str(store.path)),
        env=process_environment(),
    )
    ended = asyncio.create_task(backup.wait())
    async with asyncio.timeout(HANG_SECONDS):
        while not ended.done():
            await talk.round()
    assert await ended == 0

    assert talk.compactions > compactions_before
    assert all(talk.acknowledged[model] > before[model] for model in MODELS)
    restored = restore(tmp_path / "backup", tmp_path / "keys", tmp_path / "new")
    assert restored["models"] in (len(MODELS), len(MODELS) + 1)
    logs = logs_of(Store.open(tmp_path / "new"))
    for model in MODELS:
        count = len(logs[model])
        assert before[model] <= count <= talk.acknowledged[model]
        assert logs[model] == [f"{model.name} says {turn}" * 50 for turn in range(count)]


def logs_of(store: Store) -> dict[ModelId, list[str]]:
    """What each model said, read from the shard that holds it."""
    logs: dict[ModelId, list[str]] = {}
    for number in range(store.shards):
        shard = store.open_shard(number, "the test")
        with shard.read() as txn:
            for model in MODELS:
                if ledger.read_model(txn, *model) is not None:
                    log = ledger.read_log(txn, *model, limit=100_000)
                    logs[model] = [turn.reply for turn in log]
        shard.close()
    return logs

"""Two hosts on one store: the first is stopped at any moment, replaced, and may come back."""

import random
import signal

import pytest

from populace.actors.turn import ModelId
from populace.storage.shards import opening
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS
from tests.storage.processes import line_of, running, wait_stopped
from tests.torture import rounds

ROUNDS = 5
MODELS = 8
HEIR_TURNS = 3

ZOMBIE = """
import asyncio, os, random, sys
from pathlib import Path
from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.settings.clock import SystemClock
from populace.storage.records.errors import Fenced
from populace.storage.store import Store
from tests.actors.fakes import BASE
from tests.actors.turns import take_turn, turn_of

async def work(host, name):
    model = ModelId("acme", name)
    await host.create_model(model)
    turn = 0
    while True:
        try:
            made = await take_turn(host, turn_of(model, f"zombie-{turn}"))
        except Fenced:
            os.write(1, f"fenced {name}\\n".encode())
            return
        os.write(1, f"done {name} {made.operation}\\n".encode())
        turn += 1
        await asyncio.sleep(random.uniform(0, 0.02))

async def main():
    store = Store.open(Path(sys.argv[1]))
    host = ModelHost("zombie", store, range(store.shards), base=BASE.fingerprint, clock=SystemClock())
    await asyncio.gather(*(work(host, f"m{number}") for number in range(int(sys.argv[2]))))
    assert [one.active for one in await host.statistics()] == [0]
    host.check_integrity()
    host.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("round_number", rounds(ROUNDS, sample=1))
async def test_a_host_that_comes_back_after_it_was_replaced_records_nothing(
    store: Store, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch, round_number: int
) -> None:
    monkeypatch.setattr(opening, "LOOK_SECONDS", 0.2)
    chance = random.Random(round_number)
    models = [ModelId("acme", f"m{number}") for number in range(MODELS)]
    with running(ZOMBIE, store.path, MODELS) as zombie:
        lines = [line_of(zombie) for _ in range(chance.randrange(MODELS * 4, 200))]
        zombie.send_signal(signal.SIGSTOP)
        wait_stopped(zombie)

        heir = make_host()
        before = {model: [one.operation for one in await heir.read_log(model)] for model in models}
        for turn in range(HEIR_TURNS):
            for model in models:
                await take_turn(heir, turn_of(model, f"heir-{turn}"))

        zombie.send_signal(signal.SIGCONT)
        said, _ = zombie.communicate(timeout=HANG_SECONDS)
    lines += said.decode().splitlines()
    killed = zombie.returncode == -signal.SIGKILL

    for model in models:
        acknowledged = [line.split()[2] for line in lines if line.startswith(f"done {model.name} ")]
        # Who was killed in a commit may have made one turn durable that nobody was told of.
        untold = [f"zombie-{len(acknowledged)}"] if killed else []
        assert before[model] in (acknowledged, acknowledged + untold)
        made = [one.operation for one in await heir.read_log(model)]
        assert made == before[model] + [f"heir-{turn}" for turn in range(HEIR_TURNS)]
    assert killed or zombie.returncode == 0
    fenced = sorted(line for line in lines if line.startswith("fenced"))
    assert fenced == ([] if killed else [f"fenced {model.name}" for model in models])

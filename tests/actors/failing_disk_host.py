"""A host whose third commit meets a disk that cannot sync; says on stdout what its callers see.

strace makes the disk fail, see ``tests/actors/test_owned_shards.py``. It counts the syncs of each
thread on its own, and only commits are made by the committer's.
"""

import asyncio
import os
import sys
from pathlib import Path

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import Interaction, ModelId, TurnGrant, TurnRequest
from populace.storage.records.errors import ShardStopped, UnknownOutcome
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import reply, take_turn, turn_of

ADA = ModelId("acme", "ada")


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def begin_patiently(host: ModelHost, request: TurnRequest) -> TurnGrant | Interaction:
    while True:
        try:
            return await host.begin_turn(request)
        except ShardStopped:
            await asyncio.sleep(0.01)


async def say_log(host: ModelHost) -> None:
    say("log", *(interaction.operation for interaction in await host.read_log(ADA)))


async def main() -> None:
    store = Store.create_or_open(Path(sys.argv[1]), 1)
    host = ModelHost("host", store, [0], base=BASE.fingerprint, clock=FakeClock())
    await host.create_model(ADA)
    await take_turn(host, turn_of(ADA, "op-1"))
    try:
        await take_turn(host, turn_of(ADA, "op-2"))
    except UnknownOutcome:
        say("unknown")

    grant = await begin_patiently(host, turn_of(ADA, "op-2"))
    assert isinstance(grant, TurnGrant)
    await say_log(host)
    made = await host.finish_turn(grant, reply())
    again = await host.begin_turn(turn_of(ADA, "op-2"))
    assert isinstance(again, Interaction)
    say("made", made.position, again.position, again.replayed)
    await say_log(host)
    host.check_integrity()
    host.close()


if __name__ == "__main__":
    asyncio.run(main())

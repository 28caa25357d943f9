"""A host in another process that takes every shard over, again and again, as it is told.

LMDB must not be open twice in one process, so a successor whose predecessor still lives needs its own.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS


class Rival:
    """The handle on that process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.actors.rival_host"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take_over(self, store: Store, model: ModelId | None, operation: str, text: str) -> int | None:
        """Own every shard once, with a turn of ``model`` if one is given; answers the turn's position."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(store.path), model, operation, text]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=HANG_SECONDS)


async def own_once(path: str, model: list[str] | None, operation: str, text: str) -> int | None:
    store = Store.open(Path(path))
    host = ModelHost("rival", store, range(store.shards), base=BASE.fingerprint, clock=FakeClock())
    try:
        if model is None:
            return None
        return (await take_turn(host, turn_of(ModelId(*model), operation), text)).position
    finally:
        host.close()


def main() -> None:
    for line in sys.stdin:
        order: Any = json.loads(line)
        print(json.dumps(asyncio.run(own_once(*order))), flush=True)


if __name__ == "__main__":
    main()

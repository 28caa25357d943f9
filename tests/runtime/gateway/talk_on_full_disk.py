"""Fifty models talk until their disk is full, wait, and go on when space returns: one process, no restart.

It is a module of its own because it runs in a process of its own: the limit on the size of files is a
process's, and the small file system is mounted where nobody else sees it. It prints a ``Report``.
"""

import asyncio
import json
import logging
import resource
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

import httpx

from populace.actors.turn import ModelId
from populace.hosting.directory import directory
from tests.runtime.gateway.population import Population, chat_body
from tests.storage.small_disk import mount

MODELS = 50
TURNS_AFTER = 2
TEXT = "x" * 20_000
SPACE_BYTES = 6 * 2**20
BALLAST_BYTES = 16 * 2**20

CHAT = "/v1/chat/completions"


class Disk(Protocol):
    def fill(self) -> None:
        """Leave little space from now on."""
        ...

    def free(self) -> None:
        """Give the space back."""
        ...


class SmallFileSystem:
    """A file system in memory with room for the store, most of it taken by another file."""

    def __init__(self, path: Path) -> None:
        self._ballast = path / "ballast"
        mount(path, SPACE_BYTES + BALLAST_BYTES)

    def fill(self) -> None:
        self._ballast.write_bytes(bytes(BALLAST_BYTES))

    def free(self) -> None:
        self._ballast.unlink()


class FileLimit:
    """No file of this process may be larger than half of the space: there are two shards."""

    def fill(self) -> None:
        self._former = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SPACE_BYTES // 2, self._former[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._former)


@dataclass(slots=True)
class Report:
    """``refusals`` counts the errors by status, code and ``Retry-After``; a broken stream has status 200.

    Of each model: the completions that it acknowledged, in order, and those that its log has.
    """

    refusals: dict[str, int] = field(default_factory=dict[str, int])
    acknowledged: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    logged: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    repeated: int = 0
    metrics_while_full: str = ""


class Conversations:
    """Each model talks on its own; ``all_refused`` is set when each of them met the full disk."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._refused: set[str] = set()
        self.refusals: Counter[str] = Counter()
        self.acknowledged: dict[str, list[str]] = {}
        self.repeated = 0
        self.all_refused = asyncio.Event()
        self.space_returned = asyncio.Event()

    async def talk(self, name: str, *, streams: bool) -> None:
        """Take turns until some were acknowledged after space returned; none is left out."""
        turns = self.acknowledged[name] = []
        after = 0
        for number in count():
            body = chat_body(f"{number} {TEXT}", model=name, stream=streams)
            attempts = 0
            while (completion := await self._try(name, body, f"{name}-{number}")) is None:
                attempts += 1
                await asyncio.sleep(0.01 * min(attempts, 10))
            self.repeated += attempts > 0
            turns.append(completion)
            after += self.space_returned.is_set()
            if after == TURNS_AFTER:
                return

    async def _try(self, name: str, body: dict[str, object], operation: str) -> str | None:
        reply = await self._client.post(CHAT, json=body, headers={"Idempotency-Key": operation})
        if reply.headers["content-type"].startswith("text/event-stream"):
            *events, _ = reply.text.split("\n\n")
            if events[-1] == "data: [DONE]":
                return json.loads(events[0].removeprefix("data: "))["id"]
            answer = json.loads(events[-1].removeprefix("data: "))
        else:
            answer = reply.json()
            if reply.status_code == 200:
                return answer["id"]
        retry_after = reply.headers.get("Retry-After")
        self.refusals[f"{reply.status_code} {answer['error']['code']} {retry_after}"] += 1
        self._refused.add(name)
        if len(self._refused) == MODELS:
            self.all_refused.set()
        return None


async def main(path: Path, disk: Disk) -> Report:
    # Callers should see what the hosts say; the gateway waits 20 s for a disk to become well.
    directory.RETRY_SECONDS_MAX = 0.1
    population = await Population.start(path / "store")
    names = [f"person-{number}" for number in range(MODELS)]
    for name in names:
        await population.create(name)
    report = Report()
    async with population.client() as client:
        conversations = Conversations(client)
        disk.fill()
        talking = [
            asyncio.create_task(conversations.talk(name, streams=number % 2 == 1))
            for number, name in enumerate(names)
        ]
        await conversations.all_refused.wait()
        report.metrics_while_full = (await client.get("/metrics")).text
        disk.free()
        conversations.space_returned.set()
        await asyncio.gather(*talking)
    report.refusals = dict(conversations.refusals)
    report.acknowledged = conversations.acknowledged
    report.repeated = conversations.repeated
    for name in names:
        log = await population.directory.read_log(ModelId("acme", name), limit=10_000)
        report.logged[name] = [turn.completion_id for turn in log]
    population.close()
    return report


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    where = Path(sys.argv[1])
    chosen = SmallFileSystem(where) if sys.argv[2] == "file system" else FileLimit()
    print(json.dumps(asdict(asyncio.run(main(where, chosen)))))

"""Makes the store of a release that is kept, and writes down what it answers.

    python -m tests.runtime.gateway.kept_store tests/runtime/gateway/stores/0.2.0

is done once, when a release is made; ``test_kept_stores.py`` asks all later ones the same. The people, their
turns and their words are made up.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE

ADA = "/v1/personal-models/ada"
ASKED = (
    "/v1/personal-models",
    "/v1/population",
    "/v1/jobs",
    "/v1/files",
    *(
        f"/v1/personal-models/{name}{part}"
        for name in ("ada", "ben", "cy")
        for part in ("", "/interactions", "/feedback", "/revisions", "/memory", "/contribution", "/jobs")
    ),
    f"{ADA}/suite",
)
"""What is asked of a store, beside its responses and conversations."""

TURN = {"messages": [{"role": "user", "content": "hello again"}]}
OPERATION = "kept-operation"
"""A retry finds its first reply also in a later release."""


async def fill(population: Population, client: httpx.AsyncClient) -> list[str]:
    """Write rows of as many kinds as requests make; return the paths of a response and a conversation."""

    async def send(method: str, path: str, body: Any = None, **options: Any) -> Any:
        reply = await client.request(method, path, json=body, **options)
        assert reply.status_code < 300, (path, reply.text)
        return reply.json()

    chats = "/v1/chat/completions"
    for name in ("ada", "ben", "gone"):
        await send("POST", "/v1/personal-models", {"name": name})
    for number in range(4):
        headers = {"Idempotency-Key": f"{OPERATION}-{number}"}
        await send("POST", chats, chat_body(f"My city is number {number}."), headers=headers)
    population.engine.memory = b"a state that no engine reads"
    await send("POST", chats, chat_body("Which city?", context={"retrieve": 2}))
    population.engine.memory = None
    await send("POST", chats, chat_body("And now?", conversation="work"))
    await send("POST", "/v1/feedback", {"model": "ada", "position": 1, "thumb": "down", "correction": "So."})
    await send("POST", "/v1/feedback", {"model": "ada", "position": 2, "rating": 0.5})
    await send("PUT", f"{ADA}/suite", {"questions": [{"ask": "My city?", "expect": "Lisbon"}]})
    await send("PUT", f"{ADA}/sharing", {"sharing": "votes"})
    await send("PUT", "/v1/personal-models/ben/contribution")
    for digit, alias in (("d", "latest"), ("e", "canary")):
        revision = Revision(digit * 64, BASE.fingerprint, "imported", None, 4, 100, 5000)
        await population.directory.publish_revision(ModelId("acme", "ben"), revision, alias)
    await send("POST", f"{ADA}/jobs", {"method": "preference", "rank": 4})
    tasks = [{"prompt": "What is 3 + 4?", "answer": 7}] * 16
    await send("POST", "/v1/personal-models/ben/jobs", {"method": "rl", "reward": "number", "tasks": tasks})
    await send("POST", f"{ADA}/fork", {"name": "cy"})
    await send("POST", f"{ADA}/forget", {"positions": [0]})
    conversation = await send("POST", "/v1/conversations", {"metadata": {"model": "ben", "topic": "dogs"}})
    said = {"model": "ben", "input": "hello", "conversation": conversation["id"]}
    response = await send("POST", "/v1/responses", said)
    file = {"purpose": (None, "fine-tune"), "file": ("a.jsonl", b"{}\n")}
    assert (await client.post("/v1/files", files=file)).status_code == 200
    await send("DELETE", "/v1/personal-models/gone")
    return [f"/v1/responses/{response['id']}", f"/v1/conversations/{conversation['id']}/items"]


async def answers(client: httpx.AsyncClient, paths: list[str]) -> dict[str, Any]:
    """Ask for each path, and for one operation again."""
    found: dict[str, Any] = {path: (await client.get(path)).json() for path in paths}
    headers = {"Idempotency-Key": f"{OPERATION}-3"}
    again = await client.post("/v1/chat/completions", json=chat_body("My city is number 3."), headers=headers)
    return {**found, OPERATION: again.json()}


async def made(path: Path) -> dict[str, Any]:
    """Make a store there; return what it answers, and the key of who asks."""
    population = await Population.start(path)
    async with population.client() as client:
        more = await fill(population, client)
    population.restart()  # what is only in memory is no store's
    async with population.client() as client:
        said = await answers(client, [*ASKED, *more])
    population.close()
    return {"key": population.keys["acme"], "answers": said}


def main(folder: Path) -> None:
    """Keep a store in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store"
        told = asyncio.run(made(path))
        shutil.copytree(path, folder / "store", ignore=shutil.ignore_patterns("lock.mdb", "LOCK", "GATEWAYS"))
    (folder / "answers.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

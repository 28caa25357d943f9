"""A gateway that is to end finishes what it has, and takes nothing new."""

import asyncio

from populace.gateway.http.context import Gateway
from tests.runtime.gateway.population import Population, chat_body


async def test_what_runs_is_finished_and_what_would_begin_is_refused_by_name(population: Population) -> None:
    gateway: Gateway = population.app.state.gateway
    intake, engine = gateway.intake, population.engine
    engine.hold_before = 1
    async with population.client() as client:
        body = chat_body(stream=True)
        running = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await engine.held.wait()
        assert intake.running == 1

        intake.close()
        ready = await client.get("/readyz")
        refused = await client.post("/v1/chat/completions", json=chat_body(model="base"))
        created = await client.post("/v1/personal-models", json={"name": "ben"})
        read = await client.get("/v1/personal-models/ada/interactions")
        assert intake.running == 1

        engine.gate.set()
        finished = await running

    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert refused.headers["retry-after"] == "5"
    assert created.json()["error"]["code"] == "draining"
    assert (read.status_code, [turn["finish_reason"] for turn in read.json()["data"]]) == (200, [None])
    assert finished.text.endswith("data: [DONE]\n\n")
    assert len(await population.log("ada")) == 1
    assert intake.running == 0

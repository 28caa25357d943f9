"""The load of ``examples/incident.py`` talks to a gateway, and reads what it shows of hosts."""

import asyncio

from incident import Load

from scripts.bench.load import Endpoint
from tests.runtime.gateway.population import Population


async def test_people_talk_without_a_pause_while_the_metrics_are_looked_at(
    population: Population, url: str
) -> None:
    await population.create("bob")
    load = Load(Endpoint(url, population.keys["acme"], ("ada", "bob")))
    working = [asyncio.to_thread(load.talk, "ada"), asyncio.to_thread(load.talk, "bob")]
    running = asyncio.gather(*working, asyncio.to_thread(load.watch))
    try:
        await asyncio.to_thread(load.wait_until_all_answered, 0.0)
        busiest = await asyncio.to_thread(load.busiest_host)
        since_s = load.attempts[-1].ended_s
        await asyncio.to_thread(load.wait_until_all_answered, since_s)
    finally:
        load.end()
        await running

    assert busiest in {host.name for host in population.hosts}
    assert {attempt.status for attempt in load.attempts} == {200}
    assert {attempt.model for attempt in load.attempts if attempt.began_s > since_s} == {"ada", "bob"}
    assert all(look.unserved_share == 0 and set(look.up.values()) == {1.0} for look in load.looks)
    logged = [turn for name in ("ada", "bob") for turn in await population.log(name)]
    assert len(logged) == len(load.attempts)

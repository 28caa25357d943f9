"""The load of the bench of failovers, over HTTP: it sends again under the same id, and finds what it said."""

import time
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from populace.actors.errors import ClusterNotFound
from populace.actors.turn import Interaction, ModelId
from populace.client.http_hosts import HttpHosts
from populace.client.http_transport import HttpTransport
from scripts.bench.failover.load import FailoverLoad
from scripts.bench.failover.processes import turns_over
from tests.runtime.gateway.population import Population


@pytest.fixture
async def transport(population: Population, url: str) -> AsyncGenerator[HttpTransport, None]:
    transport = HttpTransport(url, population.keys["acme"])
    yield transport
    await transport.close()


async def test_a_turn_whose_answer_was_lost_is_said_again_and_is_in_the_log_once(
    transport: HttpTransport,
) -> None:
    over_http = turns_over(transport)
    lost: list[Interaction] = []

    async def take(model: ModelId, operation: str) -> Interaction:
        made = await over_http(model, operation)
        if not lost:
            lost.append(made)
            raise ClusterNotFound(transport.url, "the answer was lost")
        return made

    load = FailoverLoad(HttpHosts(transport), take, clients=2, shards=1, hosts=1)
    await load.begin()
    served = await load.served_again(time.monotonic(), [0])
    await load.finish()
    audit = await load.audit()

    assert len(served) == 2
    assert load.errors == {ClusterNotFound.code: 1}
    assert audit.acknowledged >= 2
    assert (audit.lost, audit.doubled) == (0, 0)
    [again] = [
        turn.interaction
        for client in load._clients
        for turn in client.acknowledged
        if turn.interaction.operation == lost[0].operation
    ]
    assert again == replace(lost[0], replayed=True)

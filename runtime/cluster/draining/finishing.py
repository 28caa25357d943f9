# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Lets what runs end before ``populace serve`` stops, and nothing new begin.

Gateways are the first to take nothing new, and hosts then let turns begin for these alone, for what they had
taken. When the gateways are at work on nothing any more, the hosts wait for the turns of others: of Python
programs in the cluster, and of clients that left and may ask for their reply again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from populace.cluster.own_ray import ended_process
from populace.gateway import deployment
from populace.gateway.deployment import GatewayWork
from populace.gateway.peers import GatewayCalls
from populace.hosting.host_client import host_handle
from populace.hosting.messages import host_name
from populace.settings.settings import Settings

logger = logging.getLogger(__name__)

GATEWAY_SECONDS_MAX = 10.0
"""How long a gateway may take to say what it is at work on; one that says nothing counts as ended then."""
HOST_SECONDS_MAX = 5.0
"""How long a host may take that has nothing to wait for."""
LOOK_SECONDS = 0.2


def finish_work(settings: Settings, tell: Callable[[int], None]) -> int:
    """Wait until nothing runs, ``settings.drain_seconds_max`` at most; return how many requests were left.

    ``tell`` is called once with how many run, if any do. Needs a connection to Ray.
    """
    left = asyncio.run(_finish(settings, tell))
    logger.info("drained: %d requests had not ended", left)
    return left


async def _finish(settings: Settings, tell: Callable[[int], None]) -> int:
    now = asyncio.get_running_loop().time
    began = now()
    give_up = began + settings.drain_seconds_max
    calls = GatewayCalls(deployment.APPLICATION, deployment.DEPLOYMENT, grows=settings.may_grow)
    hosts = [handle for number in range(settings.hosts) if (handle := host_handle(host_name(number)))]
    let_in: frozenset[str] | None = None
    has_told = False
    while True:
        found: list[GatewayWork] = await calls.ask_all("finish", seconds_max=GATEWAY_SECONDS_MAX)
        callers = (let_in or frozenset()).union(*(one.callers for one in found))
        if callers != let_in:
            let_in = callers
            await _each(hosts, "finish_for", callers, seconds_max=HOST_SECONDS_MAX)
        running = sum(one.running for one in found)
        if running and not has_told:
            has_told = True
            tell(running)
        is_known = len(found) >= settings.gateways or now() > began + GATEWAY_SECONDS_MAX
        if (is_known and not running) or now() > give_up or ended_process() is not None:
            break
        await asyncio.sleep(LOOK_SECONDS)
    seconds = max(0.0, give_up - now())
    await _each(hosts, "end_turns", seconds, seconds_max=seconds + HOST_SECONDS_MAX)
    return running


async def _each(hosts: list[Any], method: str, *arguments: object, seconds_max: float) -> None:
    """Call a method of each host. One that does not answer, or has died, keeps nothing from ending."""

    async def call(host: Any) -> None:
        await getattr(host, method).remote(*arguments)

    asked = [asyncio.create_task(call(host)) for host in hosts]
    if asked:
        _, late = await asyncio.wait(asked, timeout=seconds_max)
        for one in late:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

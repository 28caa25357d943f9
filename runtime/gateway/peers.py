# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Asks all gateways of a population, each for a short while, so that any of them can tell of all."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from populace.gateway.inner_listener import InnerAddress
from populace.gateway.metrics.of_gateways import GatewayReport, GatewaysReport
from populace.hosting.gateway_nodes import JoinedGateway, joined_gateways

logger = logging.getLogger(__name__)

ANSWER_SECONDS_MAX = 1.0
"""How long one gateway may take, if nothing else is said. One that serves answers in a few milliseconds."""


class GatewayCalls:
    """Calls methods of all gateways: of those where the store is, and of machines that joined with one."""

    def __init__(self, application: str, deployment: str, *, grows: bool) -> None:
        """With ``grows`` machines may join, each with an application of its own."""
        self._application = application
        self._deployment = deployment
        self._grows = grows
        self._handles: dict[str, Any] = {}

    async def joined(self) -> list[JoinedGateway]:
        """Return those of machines that joined; none if Ray's head does not say so soon."""
        if not self._grows:
            return []
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await asyncio.to_thread(joined_gateways)
        except (RuntimeError, RayError, TimeoutError) as error:
            logger.info("the machines that run gateways are not known: %s", type(error).__name__)
            return []

    async def ask_all(
        self, method: str, *arguments: object, seconds_max: float = ANSWER_SECONDS_MAX
    ) -> list[Any]:
        """Return the answers of all that are not late."""
        applications = [self._application, *(one.application for one in await self.joined())]
        asked = (self.ask(name, method, *arguments, seconds_max=seconds_max) for name in applications)
        return [answer for answers in await asyncio.gather(*asked) for answer in answers]

    async def ask(
        self, application: str, method: str, *arguments: object, seconds_max: float = ANSWER_SECONDS_MAX
    ) -> list[Any]:
        """Call the gateways of one application; return the answers of those that are not late."""
        try:
            handle = self._handles.get(application)
            if handle is None:
                handle = serve.get_deployment_handle(self._deployment, application)
                self._handles[application] = handle
            async with asyncio.timeout(seconds_max):
                # Serve's own way to all results gives none of them if one is late.
                results = await handle.broadcast(method, *arguments)._fetch_replica_results_async()
        except (RayError, RayServeException, TimeoutError) as error:
            if not isinstance(error, TimeoutError):
                # Another application may have this name by the next time.
                self._handles.pop(application, None)
            logger.info("the gateways of %s cannot be asked: %s", application, type(error).__name__)
            return []
        if not results:
            return []
        asked = [asyncio.ensure_future(_answer(result.get_async())) for result in results]
        done, late = await asyncio.wait(asked, timeout=seconds_max)
        for one in late:
            one.cancel()
        return [report for one in done if (report := one.result()) is not None]


class RayGateways:
    """Implements ``GatewaysProbe`` over the gateways where the store is and on machines that joined."""

    def __init__(
        self,
        application: str,
        deployment: str,
        configured: int,
        own: Callable[[bool], GatewayReport],
        *,
        grows: bool,
    ) -> None:
        """``application`` has ``configured`` gateways; with ``grows`` others may join, each with its own.

        ``own`` is what this gateway says of itself, with figures or without.
        """
        self._own = own
        self._application = application
        self._configured = configured
        self._calls = GatewayCalls(application, deployment, grows=grows)

    async def report(self, *, with_figures: bool) -> GatewaysReport:
        """Return the answers that came within ``ANSWER_SECONDS_MAX``, and who did not answer."""
        joined = await self._calls.joined()
        wanted = {number: f"gateway {number}" for number in range(self._configured)}
        wanted |= {one.number: f"gateway {one.number} at {one.machine}" for one in joined}
        applications = [self._application, *(one.application for one in joined)]
        asked = applications if len(wanted) > 1 else []
        answers = await asyncio.gather(*(self._calls.ask(name, "tell", with_figures) for name in asked))
        own = self._own(with_figures)
        found: dict[int, GatewayReport] = {one.number: one for answer in answers for one in answer}
        found[own.number] = own
        return GatewaysReport(
            tuple(found[number] for number in sorted(found)),
            {name: "does not answer" for number, name in wanted.items() if number not in found},
            len(wanted),
        )

    async def inner_addresses(self) -> list[InnerAddress]:
        """Return where the gateways that have the store's files take what others pass on."""
        return await self._calls.ask(self._application, "inner_address")


async def _answer(result: Awaitable[Any]) -> Any:
    try:
        return await result
    except (RayError, RayServeException) as error:
        logger.info("a gateway did not report: %s", type(error).__name__)
        return None

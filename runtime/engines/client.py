# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The engine as other processes see it: the ``Engine`` protocol over the Serve deployment."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import RayServeException
from ray.util import get_node_ip_address

from populace.actors.engine import BaseInfo, Delta, EngineStatistics, GenerateRequest
from populace.actors.errors import EngineUnavailable
from populace.engines.channel import TokenReader
from populace.storage.errors import PopulaceError

APPLICATION = "populace-engine"
DEPLOYMENT = "engine"

LAST_TOKENS_SECONDS = 5.0
"""How long a finished request's last tokens may still be on their way before they count as lost."""


class ReplicaEngine:
    """Sends requests to a replica; Ray Serve chooses which. Use it on one event loop."""

    def __init__(self, base: BaseInfo) -> None:
        self._base = base
        self._handle: Any = None
        self._reader: TokenReader | None = None

    @property
    def base(self) -> BaseInfo:
        return self._base

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        """Yield the replica's deltas; ``EngineUnavailable`` if it dies or cannot be reached.

        Closing the generator cancels the request in the replica.
        """
        if not request.stream:
            yield await self._whole(request)
            return
        if self._reader is None:
            self._reader = TokenReader(get_node_ip_address())
        with self._reader.stream() as (target, queue):
            response = self._remote().generate.remote(request, target)
            outcome = asyncio.ensure_future(_outcome(response))
            outcome.add_done_callback(lambda done: _report(done, queue))
            try:
                while True:
                    delta = await queue.get()
                    if isinstance(delta, Exception):
                        raise delta
                    yield delta
                    if delta.finish_reason is not None:
                        return
            finally:
                if not outcome.done():
                    response.cancel()

    async def replica_statistics(self) -> EngineStatistics:
        """Ask a replica for its statistics."""
        return await _outcome(self._remote().statistics.remote())

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _whole(self, request: GenerateRequest) -> Delta:
        response = self._remote().generate_whole.remote(request)
        try:
            return await _outcome(response)
        except asyncio.CancelledError:
            response.cancel()
            raise

    def _remote(self) -> Any:
        if self._handle is None:
            try:
                self._handle = serve.get_deployment_handle(DEPLOYMENT, APPLICATION)
            except RayServeException as error:
                raise EngineUnavailable(str(error)) from error
        return self._handle


async def _outcome(response: Any) -> Any:
    """Await a Serve response; raise the replica's own error rather than Ray's wrapping of it."""
    try:
        return await response
    except RayTaskError as error:
        cause: object = error.cause
        if isinstance(cause, PopulaceError):
            raise cause from None
        raise EngineUnavailable(f"the replica failed: {cause!r}") from error
    except TaskCancelledError as error:
        raise EngineUnavailable("the request was cancelled") from error
    except (RayError, RayServeException) as error:
        raise EngineUnavailable(str(error).split("\n", 1)[0]) from error


def _report(outcome: "asyncio.Future[Any]", queue: "asyncio.Queue[Delta | Exception]") -> None:
    if outcome.cancelled():
        return
    error = outcome.exception()
    if isinstance(error, Exception):
        queue.put_nowait(error)
        return
    asyncio.get_running_loop().call_later(
        LAST_TOKENS_SECONDS,
        queue.put_nowait,
        EngineUnavailable("the last tokens of the reply were lost on the way from the replica"),
    )

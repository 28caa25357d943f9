# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The engine as other processes see it: the ``Engine`` protocol over the Serve deployment."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

from ray import serve
from ray.exceptions import (
    ActorUnavailableError,
    ObjectRefStreamEndOfStreamError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.util import get_node_ip_address

from populace.actors.engine import (
    AdapterRef,
    BaseInfo,
    Delta,
    Embedding,
    EngineReport,
    GenerateRequest,
    Prompt,
)
from populace.actors.errors import EngineUnavailable
from populace.actors.owner import NO_OWNER, Owner
from populace.engines.channel import LOOK_SECONDS, Item, Silence, StreamTarget, TokenReader
from populace.engines.engine_nodes import EngineNodes
from populace.engines.routes import ROUTED
from populace.settings.ports import LOOPBACK, own_interface, stream_ports
from populace.storage.records.errors import PopulaceError
from populace.telemetry.calls import sent_caller

APPLICATION = "populace-engine"
DEPLOYMENT = "engine"

LAST_TOKENS_SECONDS = 5.0
"""Wait for the last tokens of a finished request; later they count as lost."""

ERASE_SECONDS_MAX = 30.0
"""How long all replicas together may take to erase adapters."""

SENDS_MAX = 6
"""Number of times that a request is sent at most, the first one included."""

SILENT_LOOKS_RESEND = (3, 6, 9)
"""Silent checks after which a request is sent again: a replica that has it gives a sign each second."""

SILENT_LOOKS_MAX = 15
"""Silent checks after which a stream has failed. A busy machine delays a replica by some seconds."""


class Erased(NamedTuple):
    """A replica's answer: the node that it erased adapters from, and those that it uses and still has."""

    node: str
    in_use: frozenset[str]


class _CallLost(Exception):
    """Ray lost the call or its answer: the replica may run the request, or not know of it."""


class ReplicaEngine:
    """Sends requests to a replica; Ray Serve chooses which. Use it on one event loop.

    A request that seems to be lost is sent again. Its replica knows it and runs it once; if
    another replica gets it too, the reply of the one that answers first counts.
    """

    def __init__(
        self, base: BaseInfo, nodes: EngineNodes | None = None, *, one_machine: bool = False
    ) -> None:
        """``nodes`` are where its replicas should be, for ``report``; None if their number is fixed.

        ``one_machine``: the replicas are on this one, as they are for a process whose environment says so.
        """
        self._base = base
        self._nodes = nodes
        self._one_machine = one_machine
        self._handle: Any = None
        self._reader: TokenReader | None = None

    @property
    def base(self) -> BaseInfo:
        return self._base

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        """Yield the replica's deltas; ``EngineUnavailable`` if it dies, is silent or cannot be reached.

        Closing the generator cancels the request in the replica.
        """
        if self._reader is None:
            self._reader = TokenReader(self._interface(), stream_ports())
        with self._reader.stream() as (target, queue):
            calls = _Calls(self._remote(), request, target, queue)
            calls.send()
            try:
                while True:
                    item = await queue.get()
                    if isinstance(item, Delta):
                        if item.finish_reason is not None:
                            calls.finish()
                            yield item
                            return
                        yield item
                    elif isinstance(item, Silence):
                        calls.notice(item)
                    else:
                        raise item
            finally:
                calls.cancel()

    def _interface(self) -> str:
        return LOOPBACK if self._one_machine else own_interface(get_node_ip_address)

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        """Prepare the adapter in the replica that has the one it replaces. A lost call is sent again."""
        for left in reversed(range(SENDS_MAX)):
            try:
                await _outcome(self._remote().prepare.remote(adapter, replaces))
                return
            except _CallLost as error:
                if left == 0:
                    raise EngineUnavailable(str(error)) from error

    async def forget(self, adapter: AdapterRef) -> None:
        """Forget the adapter in every replica; those that died meanwhile have nothing."""
        response = self._remote().broadcast("forget", adapter).results_async(return_exceptions=True)
        await self._answer(response)

    async def erase(self, digests: frozenset[str]) -> frozenset[str]:
        """Erase adapters from every replica and the memory of its node; return these nodes.

        A deployment without a replica has nothing of them. Raises ``EngineUnavailable`` if a replica does not
        answer, or uses one of them: ask again later, when Serve has replaced one that is gone.
        """
        response = self._remote().broadcast("erase", digests)
        try:
            answers = await self._answer(_erased(response))
        except TimeoutError as error:
            raise EngineUnavailable(f"a replica did not answer for {ERASE_SECONDS_MAX:g} s") from error
        in_use = frozenset[str]().union(*(answer.in_use for answer in answers))
        if in_use:
            raise EngineUnavailable(f"a replica still uses {len(in_use)} of the adapters")
        return frozenset(answer.node for answer in answers)

    async def embed(self, prompts: Sequence[Prompt], owner: Owner = NO_OWNER) -> list[Embedding]:
        response = self._remote().embed.remote(prompts, owner)
        try:
            return await self._answer(response)
        except asyncio.CancelledError:
            response.cancel()
            raise

    async def check(self) -> None:
        """Raise ``EngineUnavailable`` unless a replica answers."""
        await self._answer(self._remote().statistics.remote())

    async def report(self) -> EngineReport:
        """Ask every replica for its statistics; those that died meanwhile are left out."""
        response = self._remote().broadcast("statistics").results_async(return_exceptions=True)
        answers = [answer for answer in await self._answer(response) if not isinstance(answer, BaseException)]
        wanted = None if self._nodes is None else await asyncio.to_thread(self._nodes.wanted)
        return EngineReport(replicas=dict(answers), wanted=wanted)

    def routed(self) -> Mapping[str, int]:
        """Return how many requests this process sent to replicas, by why it chose the replica."""
        return dict(ROUTED)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _answer(self, response: Any) -> Any:
        try:
            return await _outcome(response)
        except _CallLost as error:
            raise EngineUnavailable(str(error)) from error

    def _remote(self) -> Any:
        if self._handle is None:
            try:
                self._handle = serve.get_deployment_handle(DEPLOYMENT, APPLICATION)
            except RayServeException as error:
                raise EngineUnavailable(str(error)) from error
        return self._handle


class _Calls:
    """The Serve calls that carry one request: the first, and those that repeat it."""

    def __init__(
        self, handle: Any, request: GenerateRequest, target: StreamTarget, queue: "asyncio.Queue[Item]"
    ) -> None:
        self._handle = handle
        self._request = request
        self._target = target
        self._queue = queue
        self._caller = sent_caller()
        self._sent = 0
        self._open: dict[asyncio.Future[int], Any] = {}

    def send(self) -> None:
        """Send the request, again if it was sent before; after ``SENDS_MAX`` times do nothing."""
        if self._sent == SENDS_MAX:
            return
        self._sent += 1
        response = self._handle.generate.remote(self._request, self._target, self._caller)
        outcome = asyncio.ensure_future(_outcome(response))
        self._open[outcome] = response
        outcome.add_done_callback(self._ended)

    def notice(self, silence: Silence) -> None:
        """Send the request again if no replica has accepted it; raise ``EngineUnavailable`` in the end."""
        if silence.looks >= SILENT_LOOKS_MAX:
            what = "its tokens stopped coming" if silence.accepted else "no replica took the request"
            raise EngineUnavailable(f"{what} for {silence.looks * LOOK_SECONDS:g} s")
        if not silence.accepted and silence.looks in SILENT_LOOKS_RESEND:
            self.send()

    def finish(self) -> None:
        """Let the calls end by themselves: the reply is complete, and their results are not needed."""
        self._open = {}

    def cancel(self) -> None:
        """End the request in the replica, if it runs."""
        calls, self._open = self._open, {}
        for response in calls.values():
            response.cancel()

    def _ended(self, outcome: "asyncio.Future[int]") -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if self._open.pop(outcome, None) is None or outcome.cancelled():
            return
        if isinstance(error, _CallLost):
            self.send()
        elif isinstance(error, Exception):
            self._queue.put_nowait(error)
        else:
            lost = EngineUnavailable("the last tokens of the reply were lost on the way from the replica")
            asyncio.get_running_loop().call_later(LAST_TOKENS_SECONDS, self._queue.put_nowait, lost)


async def _erased(response: Any) -> list[Erased]:
    try:
        return await response.results_async(timeout_s=ERASE_SECONDS_MAX)
    except DeploymentUnavailableError:  # no replica runs
        return []


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
    except (ActorUnavailableError, ObjectRefStreamEndOfStreamError) as error:
        raise _CallLost(str(error).split("\n", 1)[0]) from error
    except (RayError, RayServeException) as error:
        raise EngineUnavailable(str(error).split("\n", 1)[0]) from error

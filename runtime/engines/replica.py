# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The Serve deployment that owns one engine.

Each request runs once, however often Ray delivers it.
Ray loses a message without saying whether it arrived, and Serve and the client send it again. Requests
with the same stream id ask for the same reply: the first runs, and the others get its outcome.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from ray import serve
from ray.serve.config import RequestRouterConfig

from populace.actors.engine import (
    AdapterRef,
    Delta,
    Embedding,
    Engine,
    EngineKind,
    EngineStatistics,
    GenerateRequest,
    Prompt,
    joined,
)
from populace.actors.errors import EngineUnavailable
from populace.actors.owner import NO_OWNER, Owner
from populace.actors.span_names import GENERATE
from populace.engines.channel import StreamTarget, TokenSender
from populace.engines.client import DEPLOYMENT, Erased
from populace.engines.engine_nodes import HEALTH_SECONDS, noted_start
from populace.engines.options import EngineOptions
from populace.engines.starting import start_engine
from populace.node_files.node import NodeFiles, erase_here
from populace.node_files.ray_hosts import StoreHosts, node_id
from populace.policies.holdings import summary_of
from populace.settings.signals import end_with_parent
from populace.telemetry.calls import SentCaller, caller_of, serving
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.serve_log import SERVE_LOGGING, kept_serve_log
from populace.telemetry.tracing.own_process import own_process_use
from populace.telemetry.tracing.setup import telemetry_setup
from populace.telemetry.tracing.spans import TRACER

SIGN_SECONDS = 1.0
"""Time between two signs of life of a run: short enough that a client does not send it again."""

RUN_SECONDS_KEPT = 60.0
"""How long an ended run is kept: longer than a client repeats its request."""


class Sender(Protocol):
    """Sends tokens and signs of life to the readers of streams."""

    def add(self, target: StreamTarget, sequence: int, delta: Delta) -> None: ...

    def add_sign(self, target: StreamTarget, sequence: int) -> None: ...


class _Run:
    """A reply that is being made, or is complete."""

    def __init__(
        self, engine: Engine, sender: Sender, request: GenerateRequest, target: StreamTarget
    ) -> None:
        self._sender = sender
        self._target = target._replace(run=secrets.randbits(32))
        self._sequence = 0
        self.task = asyncio.create_task(self._stream(engine, request))

    async def _stream(self, engine: Engine, request: GenerateRequest) -> int:
        async with aclosing(engine.generate(request)) as deltas:
            if request.stream:
                async for delta in deltas:
                    self._send(delta)
            else:
                whole = [delta async for delta in deltas]
                if not whole:
                    raise EngineUnavailable("the engine ended a reply without a finish reason")
                self._send(joined(whole))
        return self._sequence

    def give_sign(self) -> None:
        self._sender.add_sign(self._target, self._sequence)

    def _send(self, delta: Delta) -> None:
        self._sender.add(self._target, self._sequence, delta)
        self._sequence += 1


class Runs:
    """Makes replies and sends them; used on one event loop."""

    def __init__(self, engine: Engine, sender: Sender) -> None:
        self._engine = engine
        self._sender = sender
        self._runs: dict[bytes, _Run] = {}
        self._signing = asyncio.create_task(self._sign())

    async def run(self, request: GenerateRequest, target: StreamTarget) -> int:
        """Send the reply to ``target``; return the number of its deltas, or raise its error.

        A request that is known does not run again: it waits for the first, and has the same outcome.
        Cancellation means that the reader is gone; it cancels the run.
        """
        run = self._runs.get(target.stream_id)
        if run is None:
            run = self._runs[target.stream_id] = _Run(self._engine, self._sender, request, target)
            run.task.add_done_callback(lambda _: self._forget_later(target.stream_id))
        try:
            return await asyncio.shield(run.task)
        except asyncio.CancelledError:
            run.task.cancel()
            raise

    def close(self) -> None:
        """Stop the signs of life, by which the readers of unfinished replies notice the end."""
        self._signing.cancel()

    async def _sign(self) -> None:
        while True:
            await asyncio.sleep(SIGN_SECONDS)
            for run in self._runs.values():
                if not run.task.done():
                    run.give_sign()

    def _forget_later(self, stream_id: bytes) -> None:
        asyncio.get_running_loop().call_later(RUN_SECONDS_KEPT, self._runs.pop, stream_id)


PUBLISH_SECONDS = 2.0
"""How often Serve asks a replica what it holds. Serve's own round, a second or less, comes on top of it."""

PUBLISH_SECONDS_ALONE = 3600.0
"""The same for a single replica, where the router has no choice."""

DRAIN_LOOK_SECONDS = 0.1
"""How often Serve looks whether the requests of a replica that is to end are over; once in any case."""
STOP_SECONDS_MAX = 10.0
"""How long Serve waits for them, for the end of the engine, and for its log and traces."""

ROUTER = "populace.engines.routing.ResidencyRouter"


class EngineReplica:
    """Answers ``ReplicaEngine``. The engine starts with the replica and ends with it."""

    async def __init__(
        self,
        kind: EngineKind,
        options: EngineOptions,
        hosts: StoreHosts,
        telemetry: TelemetryOptions | None = None,
    ) -> None:
        end_with_parent()
        self._end_telemetry = telemetry_setup(telemetry, "replica", serve.get_replica_context().rank.rank)
        self._sender = TokenSender()
        with noted_start(), kept_serve_log():
            # This node's settings: the options come from another machine, perhaps.
            self._files = await asyncio.to_thread(NodeFiles, hosts)
            here = await asyncio.to_thread(_options_here, options, self._files)
            self._engine = await start_engine(kind, here, self._files.adapters)
        self._runs = Runs(self._engine, self._sender)

    async def generate(
        self, request: GenerateRequest, target: StreamTarget, caller: SentCaller | None = None
    ) -> int:
        """Send the deltas to ``target``; return how many there were when all are sent.

        May be called again for the same target: the request runs once. ``caller`` is whose request it is.
        """
        with serving(caller_of(caller)), TRACER.span(GENERATE, kind="server"):
            return await self._runs.run(request, target)

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        """Bring the adapter into this engine's memory. May be called again."""
        await self._engine.prepare(adapter, replaces)

    async def forget(self, adapter: AdapterRef) -> None:
        """Unload the adapter from this engine. May be called again."""
        await self._engine.forget(adapter)

    async def erase(self, digests: frozenset[str]) -> Erased:
        """Unload adapters that no model has any more, and erase them from this node's memory.

        For all processes of the node, killed ones too. What a request uses stays, and is named in the answer.
        """
        for digest in digests:
            await self._engine.forget(AdapterRef(digest, ""))
        in_use = {digest for digest in digests if self._has(digest)}
        await asyncio.to_thread(erase_here, digests - in_use)
        # One whose load had begun may have come to its end meanwhile.
        in_use |= {digest for digest in digests if self._has(digest)}
        return Erased(node_id(), frozenset(in_use))

    async def embed(self, prompts: Sequence[Prompt], owner: Owner = NO_OWNER) -> list[Embedding]:
        """Embed prompts by the base. May be called again."""
        return await self._engine.embed(prompts, owner)

    async def statistics(self) -> tuple[int, EngineStatistics]:
        """Return the number of this replica, which its successor inherits, and its engine's statistics."""
        statistics = replace(self._engine.statistics(), process=own_process_use())
        return serve.get_replica_context().rank.rank, statistics

    def _has(self, digest: str) -> bool:
        return self._engine.has(digest) or self._files.adapters.is_open(digest)

    async def record_routing_stats(self) -> dict[str, bytes]:
        """Summarize the adapters that this replica holds; Serve sends that to every router."""
        held = self._engine.held()
        return summary_of(held.hot, held.warm)

    async def check_health(self) -> None:
        """Raise if the engine is dead: Serve then replaces this replica."""
        self._engine.check_integrity()

    async def __del__(self) -> None:
        # Ray Serve's documented hook for graceful shutdown; there is no other one.
        try:
            self._runs.close()
            await self._engine.close()
            self._files.close()
            self._sender.close()
        finally:
            await asyncio.to_thread(self._end_telemetry)


def engine_application(
    kind: EngineKind,
    options: EngineOptions,
    hosts: StoreHosts,
    *,
    gpus: float,
    replicas: int,
    replicas_per_node: int | None = None,
    environment: dict[str, str],
    nodes: dict[str, str] | None = None,
    telemetry: TelemetryOptions | None = None,
) -> serve.Application:
    """Describe the deployment of ``replicas`` engines, with ``gpus`` GPUs each, on nodes with these labels.

    ``replicas_per_node`` is the most that one node runs where others may join; None leaves it to Serve. A
    node that lacks the base, the memory module or an adapter asks ``hosts`` for it. The environment is that
    of their processes, because it must be set before an engine's libraries load.
    """
    # Any: Serve's types know a deployment only where the decorator is written on the class, and take
    # each field of a configuration for a dict.
    router_config: Any = RequestRouterConfig
    per_node: Any = replicas_per_node
    deployment: Any = serve.deployment(
        EngineReplica,
        name=DEPLOYMENT,
        num_replicas=replicas,
        max_replicas_per_node=per_node,
        # The engine refuses by itself when its queue is full; Serve must not queue in front of it.
        max_ongoing_requests=options.sequences_max * 64,
        request_router_config=router_config(
            request_router_class=ROUTER,
            request_routing_stats_period_s=(
                PUBLISH_SECONDS if replicas > 1 or replicas_per_node is not None else PUBLISH_SECONDS_ALONE
            ),
        ),
        health_check_period_s=HEALTH_SECONDS,
        health_check_timeout_s=60,
        graceful_shutdown_wait_loop_s=DRAIN_LOOK_SECONDS,
        graceful_shutdown_timeout_s=STOP_SECONDS_MAX,
        logging_config=SERVE_LOGGING,
        ray_actor_options={
            "num_cpus": 0,
            "num_gpus": gpus,
            "label_selector": nodes or {},
            "runtime_env": {"env_vars": environment},
        },
    )
    return deployment.bind(kind, options, hosts, telemetry)


def _options_here(options: EngineOptions, files: NodeFiles) -> EngineOptions:
    """Return the options with this node's paths; fetches what the node lacks, for minutes perhaps."""
    here = options._replace(
        base_directory=files.base(options.name, options.fingerprint, options.base_directory),
        warm_directory=files.warm_directory,
    )
    if options.memory_module is None or options.memory_digest is None:
        return here
    module = files.memory_module(options.memory_digest, options.fingerprint, options.memory_module)
    return here._replace(memory_module=module)

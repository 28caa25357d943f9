# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A host as a Ray actor.

A message carries many calls. The results of those that finish within ``PROMPT_SECONDS`` are returned
together; a call that waits, for a turn for example, gets a message of its own and holds up no other.
A message that arrives again gets the results of the first time, and its calls do not run again.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.util import get_node_ip_address

from populace.actors.engine import BaseInfo
from populace.actors.errors import HostUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.turn import TurnGrant
from populace.encoder.on_use import EncoderOnUse
from populace.engines.client import ReplicaEngine
from populace.engines.traced_engine import TracedEngine
from populace.hosting.held_grants import Held, HeldGrants
from populace.hosting.host_sweep import sweep
from populace.hosting.messages import (
    NAMESPACE,
    SENDS_MAX,
    Answers,
    Failed,
    GatewayAddress,
    PopulationInfo,
    Waiting,
    host_name,
)
from populace.hosting.opening_host import OpeningHost
from populace.hosting.operations import OPERATIONS, Call, SentCall
from populace.hosting.other_hosts import OtherHosts
from populace.hosting.presence import PresenceAddress, PresenceListener
from populace.policies.placement import shards_of
from populace.settings.clock import SystemClock
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import PopulaceError
from populace.storage.store import Store
from populace.telemetry.calls import context_of
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.tracing.own_process import own_process_use
from populace.telemetry.tracing.setup import telemetry_setup
from populace.telemetry.tracing.spans import TRACER

logger = logging.getLogger(__name__)

PROMPT_SECONDS = 0.02
"""How long a message waits for its calls. A turn's grant and its commit both finish within this time on an
idle machine (1 to 5 ms measured)."""
PASSIVATION_SWEEP_SECONDS = 5.0
"""Time between two sweeps. Every twelfth also compacts, which is once a minute."""
MESSAGE_SECONDS_KEPT = 10.0
"""How long the actor keeps a message's results: longer than a client repeats the message."""
AGAIN_SECONDS = 0.1
"""How soon it is looked again what a caller that is gone holds, after what it waited for was cancelled."""
HOST_CONCURRENCY_MAX = 10_000
"""Concurrent messages that one host accepts. A queued turn holds one; its mailbox bounds it earlier."""


class HostOptions(NamedTuple):
    """Everything a host needs to start, and to start again after a crash."""

    number: int
    hosts: int
    shards: int
    data_directory: str
    base: BaseInfo
    base_directory: str
    limits: HostLimits
    has_engine: bool
    master_key: str | None = None
    gateway: GatewayAddress | None = None
    community: str | None = None
    encoder_directory: str | None = None
    telemetry: TelemetryOptions | None = None
    journal: JournalOptions | None = None


# Any: with Ray's types only a handle could call the method.
_sent_again: Any = ray.method(max_task_retries=SENDS_MAX)
"""Marks a method that may run twice: Ray itself repeats a call whose message was lost."""


class HostActor:
    """Runs one ``ModelHost``. Ray restarts it after a crash; the store's epoch fences the old one."""

    def __init__(self, options: HostOptions) -> None:
        """Begin to open the host. Raises nothing, and reads no file of the store."""
        self._end_telemetry = telemetry_setup(options.telemetry, "host", options.number)
        self._options = options
        # A token of the previous process must not name a call of this one.
        self._tokens = itertools.count(secrets.randbits(62))
        self._waiting: dict[int, asyncio.Task[Any]] = {}
        self._tokens_of: dict[asyncio.Task[Any], int] = {}
        self._incarnation = secrets.token_hex(8)
        self._messages: dict[str, list[asyncio.Task[Any]]] = {}
        self._tasks_of_caller: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self._held = HeldGrants()
        self._undoing: set[asyncio.Task[Any]] = set()
        self._presence = PresenceListener(get_node_ip_address, self._take_back)
        self._sweeper: asyncio.Task[None] | None = None
        self._name = host_name(options.number)
        self._opening = OpeningHost(self._name, lambda: _open_host(options))

    @_sent_again
    async def describe(self) -> PopulationInfo:
        self._start_sweep()
        options = self._options
        return PopulationInfo(
            hosts=options.hosts,
            shards=options.shards,
            base=options.base,
            base_directory=options.base_directory,
            data_directory=options.data_directory,
            gateway=options.gateway,
        )

    async def process_id(self) -> int:
        return os.getpid()

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Run one call; for callers that want an ObjectRef of its own."""
        operation = OPERATIONS.get(name)
        if operation is None:
            raise HostUnavailable(self._name, f"its version has no operation `{name}`")
        try:
            result = await operation.run(await self._opening.get(), *args, **options)
        except Exception as error:
            # Here and not where the message is answered: only this task knows whose request it is.
            if not isinstance(error, PopulaceError):
                logger.exception("the call %s failed unexpectedly", operation.name)
            raise
        if operation.ends_grant:
            self._held.drop(args[0].grant_id)
        return result

    async def presence_address(self) -> PresenceAddress:
        """Return where a caller connects, so that this host sees it when the caller's process ends."""
        return await self._presence.address()

    async def call_many(
        self,
        calls: Sequence[Call | SentCall],
        message: str,
        again_for: str | None,
        caller: str | None = None,
    ) -> Answers:
        """Run the calls, or return the results of a message that arrived before.

        ``again_for`` names, when a message is sent again, the process that may have run it: its
        successor does not know and must not run it a second time. ``caller`` is the name of the caller's
        presence: what it waits for and the turns that it holds end when it is gone.
        """
        self._start_sweep()
        tasks = self._messages.get(message)
        if tasks is None:
            if again_for not in (None, self._incarnation):
                restarted = HostUnavailable(self._name, "it restarted meanwhile")
                return Answers(self._incarnation, [Failed(restarted)] * len(calls))
            # A task has the name of its operation: ``forget`` may have to take its result back.
            tasks = [
                asyncio.create_task(
                    self.call(name, *args, **options), name=name, context=context_of(*request or (None,))
                )
                for name, args, options, *request in calls
            ]
            if caller is not None:
                for task in tasks:
                    self._attribute(task, caller)
            self._messages[message] = tasks
            asyncio.get_running_loop().call_later(MESSAGE_SECONDS_KEPT, self._messages.pop, message)
        await asyncio.wait(tasks, timeout=PROMPT_SECONDS)
        results = [self._outcome(task) if task.done() else self._keep(task) for task in tasks]
        return Answers(self._incarnation, results)

    async def collect(self, token: int) -> Any:
        """Wait for a call whose result was ``Waiting``; may be called again if the result is lost."""
        task = self._waiting.get(token)
        if task is None:
            raise HostUnavailable(self._name, "it restarted meanwhile, or the result was kept no longer")
        try:
            await asyncio.wait([task])
            return self._outcome(task)
        finally:
            # Runs also when Ray cancels this message because its caller gave up.
            if not task.done():
                task.cancel()
            asyncio.get_running_loop().call_later(MESSAGE_SECONDS_KEPT, self._drop, token)

    async def forget(self, token: int) -> None:
        """Cancel a waiting call whose caller gave up, or take back what it returned meanwhile."""
        task = self._drop(token)
        if task is None or task.cancel() or task.cancelled() or task.exception() is not None:
            return
        if (undo := OPERATIONS[task.get_name()].on_lost(task.result())) is not None:
            name, args, options = undo
            await self.call(name, *args, **options)

    async def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless the host's books balance and each waiting call has one token."""
        (await self._opening.get()).check_integrity()
        assert {task: token for token, task in self._waiting.items()} == self._tokens_of

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._presence.close()
        await self._opening.close()
        # Ray ends the process without what it would do at its exit.
        await asyncio.to_thread(self._end_telemetry)

    def _start_sweep(self) -> None:
        """Start sweeping, with the first message: nothing calls ``describe`` on a host that Ray restarted."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            with contextlib.suppress(HostUnavailable):
                await sweep(await self._opening.get(), seconds=PASSIVATION_SWEEP_SECONDS)

    def _attribute(self, task: "asyncio.Task[Any]", caller: str) -> None:
        """Note that the caller waits for the task, and holds the turn that it may grant."""
        operation = OPERATIONS.get(task.get_name())
        if operation is None or not operation.is_for_caller:
            return

        def end(task: "asyncio.Task[Any]") -> None:
            tasks = self._tasks_of_caller[caller]
            tasks.discard(task)
            if not tasks:
                del self._tasks_of_caller[caller]
            if task.cancelled() or task.exception() is not None:
                return
            if isinstance(grant := task.result(), TurnGrant) and (undo := operation.on_lost(grant)):
                now_s = time.monotonic()
                held = Held(caller, undo, now_s + grant.turn_seconds_max)
                self._held.hold(grant.grant_id, held, now_s=now_s)

        self._tasks_of_caller[caller].add(task)
        task.add_done_callback(end)

    def _take_back(self, caller: str) -> None:
        """End the turns that a caller holds, and what it waits for: its process is gone."""
        tasks, held = self._tasks_of_caller.get(caller, set()), self._held.take(caller)
        if tasks or held:
            logger.warning("a caller is gone: %d turns end, %d calls", len(held), len(tasks))
        if tasks:
            for task in tuple(tasks):
                task.cancel()
            # One of them may have been granted its turn just now.
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._take_back, caller)
        for name, args, options in held:
            undone = asyncio.create_task(self.call(name, *args, **options))
            self._undoing.add(undone)
            undone.add_done_callback(self._undoing.discard)

    def _keep(self, task: "asyncio.Task[Any]") -> Waiting:
        if task not in self._tokens_of:
            token = self._tokens_of[task] = next(self._tokens)
            self._waiting[token] = task
        return Waiting(self._tokens_of[task])

    def _drop(self, token: int) -> "asyncio.Task[Any] | None":
        task = self._waiting.pop(token, None)
        if task is not None:
            del self._tokens_of[task]
        return task

    def _outcome(self, task: "asyncio.Task[Any]") -> Any:
        if task.cancelled():
            return Failed(HostUnavailable(self._name, "the call was cancelled"))
        error = task.exception()
        if error is None:
            return task.result()
        return Failed(error if isinstance(error, Exception) else RuntimeError(repr(error)))


def _open_host(options: HostOptions) -> ModelHost:
    key = None if options.master_key is None else Path(options.master_key)
    store = Store.open(Path(options.data_directory), master_key=key)
    others = [number for number in range(options.hosts) if number != options.number]
    engine = TracedEngine(ReplicaEngine(options.base)) if options.has_engine else None
    return ModelHost(
        host_name(options.number),
        store,
        shards_of(options.number, store.shards, options.hosts),
        base=options.base.fingerprint,
        clock=SystemClock(),
        engine=engine,
        limits=options.limits,
        community=options.community,
        encoder=None if options.encoder_directory is None else EncoderOnUse(Path(options.encoder_directory)),
        process_use=own_process_use,
        tracer=TRACER,
        used_elsewhere=OtherHosts(others).adapters_in_use if others else None,
        journal=options.journal,
    )


def start_hosts(
    options: list[HostOptions], *, environment: dict[str, str], nodes: dict[str, str] | None = None
) -> list[Any]:
    """Create the host actors on nodes with these labels, or find those that run already.

    Returns their handles once they respond.
    """
    # Any: Ray's types know a remote class only where the decorator is written on the class.
    remote: Any = ray.remote(HostActor)
    handles = [
        remote.options(
            name=host_name(option.number),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=HOST_CONCURRENCY_MAX,
            num_cpus=0,
            label_selector=nodes,
            runtime_env={"env_vars": environment},
        ).remote(option)
        for option in options
    ]
    ray.get([handle.describe.remote() for handle in handles])
    return handles

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A host as a Ray actor.

A message carries many calls. The results of those that finish within ``PROMPT_SECONDS`` are returned
together; a call that waits, for a turn for example, gets a message of its own and holds up no other.
A message that arrives again gets the results of the first time, and its calls do not run again.

Calls are let in until the host is handed over to another node: then they wait, and come again there.
Before a Populace stops it lets turns begin for those alone who finish what they had begun.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.util import get_node_ip_address

from populace.actors.draining import Draining
from populace.actors.errors import HostUnavailable
from populace.actors.turn import TurnGrant
from populace.hosting.directory.operations import OPERATIONS, Call, SentCall
from populace.hosting.host_options import (
    HostOptions,
    StartedWith,
    on_this_node,
    open_host,
    shared_paths,
)
from populace.hosting.host_sweep import sweep
from populace.hosting.messages import (
    NAMESPACE,
    SENDS_MAX,
    Answers,
    Failed,
    PopulationInfo,
    Waiting,
    host_name,
)
from populace.hosting.opening_host import OpeningHost
from populace.hosting.presence import PresenceAddress, PresenceListener
from populace.hosting.shared_files import SharedFiles
from populace.hosting.store_node import own_telemetry, placed
from populace.node_files.pieces import SharedFile, Wanted
from populace.settings.ports import is_one_machine, own_interface
from populace.settings.signals import end_with_parent
from populace.storage.records.errors import PopulaceError
from populace.telemetry.calls import context_of
from populace.telemetry.tracing.setup import telemetry_setup

POLL_SECONDS = 0.02


class Gate:
    """Open at first. A call that waits goes on if the host stays, and else raises ``HostUnavailable``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inside = 0
        self._decided: asyncio.Event | None = None
        self._is_shut = False
        self._has_moved = False
        self._let_in: frozenset[str] | None = None

    @asynccontextmanager
    async def passed(self, *, begins_turn: bool, caller: str | None = None) -> AsyncGenerator[None]:
        """Be inside during the block, after waiting if the gate is closed for such a call.

        Raises ``Draining`` if turns begin for others than this ``caller`` alone.
        """
        if begins_turn and self._let_in is not None and caller not in self._let_in:
            raise Draining
        while self._decided is not None and (begins_turn or self._is_shut):
            await self._decided.wait()
        if self._has_moved:
            raise HostUnavailable(self._name, "it goes on on another node")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def let_in(self, callers: frozenset[str]) -> None:
        """Let turns begin for these callers alone, until the process ends."""
        self._let_in = callers

    def close_for_turns(self) -> None:
        """Let no call in that would begin a turn."""
        self._decided = self._decided or asyncio.Event()

    async def shut(self, seconds_max: float) -> bool:
        """Let no call in, and wait for those inside; returns whether they have all ended by then."""
        self.close_for_turns()
        self._is_shut = True
        give_up = asyncio.get_running_loop().time() + seconds_max
        while self._inside:
            if asyncio.get_running_loop().time() > give_up:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def open(self, *, has_moved: bool = False) -> None:
        """Let the calls go on that wait, or with ``has_moved`` send them and all later ones away."""
        decided, self._decided = self._decided, None
        self._is_shut, self._has_moved = False, has_moved
        if decided is not None:
            decided.set()


FEW = 1024
"""A number of grants that is not worth looking through for those whose deadline passed."""


class Held(NamedTuple):
    """A grant of a caller. After ``until_s`` of the monotonic clock the turn has ended by itself."""

    caller: str
    undo: Call
    until_s: float


class HeldGrants:
    """Grants by caller, by their ids."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._of: defaultdict[str, set[str]] = defaultdict(set)
        self._look_from = FEW

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, grant_id: str, held: Held, *, now_s: float) -> None:
        """Note a grant."""
        self._held[grant_id] = held
        self._of[held.caller].add(grant_id)
        if len(self._held) > self._look_from:
            for ended in [key for key, other in self._held.items() if other.until_s < now_s]:
                self.drop(ended)
            self._look_from = max(FEW, 2 * len(self._held))

    def drop(self, grant_id: str) -> None:
        """Forget a grant whose turn ended, if it is held here."""
        held = self._held.pop(grant_id, None)
        if held is not None:
            of_caller = self._of[held.caller]
            of_caller.discard(grant_id)
            if not of_caller:
                del self._of[held.caller]

    def take(self, caller: str) -> list[Call]:
        """Return what takes back all grants of a caller, and forget them."""
        return [self._held.pop(grant_id).undo for grant_id in self._of.pop(caller, ())]


logger = logging.getLogger(__name__)

PROMPT_SECONDS = 0.02
"""How long a message waits for its calls. A turn's grant and its commit both finish within this time on an
idle machine (1 to 5 ms measured)."""
MESSAGE_SECONDS_KEPT = 10.0
"""How long the actor keeps a message's results: longer than a client repeats the message."""
AGAIN_SECONDS = 0.1
"""How soon it is looked again what a caller that is gone holds, after what it waited for was cancelled."""
HOST_CONCURRENCY_MAX = 10_000
"""Concurrent messages that one host accepts. A queued turn holds one; its mailbox bounds it earlier."""


# Any: with Ray's types only a handle could call the method.
_sent_again: Any = ray.method(max_task_retries=SENDS_MAX)
"""Marks a method that may run twice: Ray itself repeats a call whose message was lost."""


TURNS_SECONDS_MAX = 20.0
"""How long a host that is handed over waits for the turns that run; longer ones are committed by the next."""
CALLS_SECONDS_MAX = 10.0
SHIP_SECONDS_MAX = 30.0
MEND_SECONDS_MAX = 60.0
ALONE_SECONDS_MAX = 15.0


class HostActor:
    """Runs one ``ModelHost``. Ray restarts it after a crash; the store's epoch fences the old one."""

    def __init__(self, options: HostOptions) -> None:
        """Begin to open the host. Raises nothing, and reads no file of the store."""
        end_with_parent()
        telemetry = own_telemetry(options.home, options.telemetry)
        self._end_telemetry = telemetry_setup(telemetry, "host", options.number)
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
        self._presence = PresenceListener(partial(own_interface, get_node_ip_address), self._take_back)
        self._sweeper: asyncio.Task[None] | None = None
        self._name = host_name(options.number)
        self._gate = Gate(self._name)
        self._handing_over: asyncio.Task[None] | None = None
        self._opening = OpeningHost(self._name, lambda: open_host(options))
        self._shared = SharedFiles(lambda: shared_paths(options), self._opening.get)

    @_sent_again
    async def describe(self) -> PopulationInfo:
        self._start_sweep()
        options = await asyncio.to_thread(on_this_node, self._options)
        return PopulationInfo(
            hosts=options.hosts,
            shards=options.shards,
            base=options.base,
            base_directory=options.base_directory,
            data_directory=options.data_directory,
            gateway=options.gateway,
            problem=self._opening.problem,
            one_machine=is_one_machine(),
        )

    async def process_id(self) -> int:
        return os.getpid()

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Run one call; for callers that want an ObjectRef of its own."""
        return await self._run(None, name, *args, **options)

    async def _run(self, caller: str | None, name: str, /, *args: Any, **options: Any) -> Any:
        operation = OPERATIONS.get(name)
        if operation is None:
            raise HostUnavailable(self._name, f"its version has no operation `{name}`")
        try:
            async with self._gate.passed(begins_turn=operation.is_for_caller, caller=caller):
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
                    self._run(caller, name, *args, **options),
                    name=name,
                    context=context_of(*request or (None,)),
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

    async def shared_files(self, wanted: Wanted) -> tuple[SharedFile, ...] | None:
        """List the files of what another node lacks; None if it is not here. May be called again."""
        return await self._shared.files(wanted)

    async def shared_piece(self, wanted: Wanted, name: str, offset: int, key: bytes) -> bytes | None:
        """Read a piece of one of them, sealed with ``key``. May be called again."""
        return await self._shared.piece(wanted, name, offset, key)

    async def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless the host's books balance and each waiting call has one token."""
        (await self._opening.get()).check_integrity()
        assert {task: token for token, task in self._waiting.items()} == self._tokens_of

    async def started_with(self) -> StartedWith:
        """Return what a host of this number is started with on another node."""
        own: Any = ray.get_runtime_context().runtime_env
        return StartedWith(self._options, dict(own.get("env_vars") or {}))

    async def finish_for(self, callers: frozenset[str]) -> None:
        """Let no turn begin from here on but those of these callers, who finish what they have begun."""
        self._gate.let_in(callers)

    async def end_turns(self, seconds_max: float) -> None:
        """Let no turn begin from here on, and return when those that run have ended, or are late."""
        self._gate.let_in(frozenset())
        if self._opening.opened is not None:
            await self._opening.opened.end_turns(Draining(), seconds_max)

    async def mend_journals(self) -> None:
        """Mend what another node would miss in the journals, or begin to if that takes long."""
        host = self._opening.opened
        if host is not None and host.journals is not None:
            await asyncio.to_thread(host.journals.mend_all, MEND_SECONDS_MAX)

    async def hand_over(self) -> None:
        """Give up the shards with all that is acknowledged in the journal, for a host on another node.

        No turn begins from now on, those that run have ``TURNS_SECONDS_MAX`` to end, and callers wait; once
        the shards are given up they are sent away and find the next host. If the journal does not take
        what it lacks this raises ``BucketUnreachable``, and all goes on as if nothing had been asked. A host
        that is not replaced ``ALONE_SECONDS_MAX`` after it gave up its shards starts anew by itself.
        """
        if self._handing_over is None or (self._handing_over.done() and self._handing_over.exception()):
            # A task of its own: it has to come to its end if who asked for it is gone.
            self._handing_over = asyncio.create_task(self._hand_over())
        await asyncio.shield(self._handing_over)

    async def _hand_over(self) -> None:
        try:
            self._gate.close_for_turns()
            host = self._opening.opened
            if host is not None:
                moving = HostUnavailable(self._name, "it is being handed over")
                await host.end_turns(moving, TURNS_SECONDS_MAX)
                await self._gate.shut(CALLS_SECONDS_MAX)
                await asyncio.to_thread(host.ship_all, SHIP_SECONDS_MAX)
        except BaseException:
            self._gate.open()
            raise
        await self.close()
        self._gate.open(has_moved=True)
        # Ray starts it again, here if this node lives: no other host has the shards then.
        asyncio.get_running_loop().call_later(ALONE_SECONDS_MAX, os._exit, 1)

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._presence.close()
        self._shared.close()
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
                await sweep(await self._opening.get(), seconds=self._options.sweep_seconds)

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


def start_hosts(
    options: list[HostOptions],
    *,
    environment: dict[str, str],
    nodes: dict[str, str] | None = None,
    preferred: str | None = None,
) -> list[Any]:
    """Create the host actors as ``begin_hosts`` does; return their handles once they respond."""
    handles = begin_hosts(options, environment=environment, nodes=nodes, preferred=preferred)
    ray.get([handle.describe.remote() for handle in handles])
    return handles


def begin_hosts(
    options: list[HostOptions],
    *,
    environment: dict[str, str],
    nodes: dict[str, str] | None = None,
    preferred: str | None = None,
) -> list[Any]:
    """Create the host actors on nodes with these labels, or find those that run already.

    They are on the node ``preferred`` as long as it lives. Returns their handles, without waiting for them.
    """
    # Any: Ray's types know a remote class only where the decorator is written on the class.
    remote: Any = ray.remote(HostActor)
    return [
        remote.options(
            name=host_name(option.number),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=HOST_CONCURRENCY_MAX,
            num_cpus=0,
            **placed(nodes, preferred),
            runtime_env={"env_vars": environment},
        ).remote(option)
        for option in options
    ]

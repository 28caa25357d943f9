# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The client of a host actor. Its messages carry the calls of one turn of the event loop.

Ray runs a message at most once and does not say whether a lost one ran. So a client sends it again
under the same id, and the actor returns the results of a message that it knows without running it again.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.core.generated.gcs_pb2 import ActorTableData  # pyright: ignore[reportAttributeAccessIssue]  # generated
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayError, RayTaskError

from populace.actors.errors import HostUnavailable
from populace.actors.span_names import HOST, HOST_CALL
from populace.hosting.directory.operations import Call, Method, Operation, P, SentCall, T, operation_of
from populace.hosting.messages import NAMESPACE, SENDS_MAX, Failed, Waiting, host_name
from populace.hosting.presence import Presence
from populace.storage.records.errors import PopulaceError
from populace.telemetry.calls import SentCaller, sent_caller
from populace.telemetry.tracing.spans import TRACER

DEAD: int = ActorTableData.ActorState.DEAD
CALLS_PER_MESSAGE_MAX = 1024
MESSAGES_IN_FLIGHT_MAX = 4
RESEND_SECONDS = 0.05
"""Wait before a message is sent again; it doubles each time, to 1.5 s in all."""


class Pending(NamedTuple):
    """A call that was not sent yet, or whose message has no answer yet."""

    operation: Operation[..., Any]
    call: Call
    caller: SentCaller | None
    answer: "asyncio.Future[Any]"


class RayHostClient:
    """Sends calls to a host actor, gathering those of one event-loop turn into one message.

    A host that was handed over to another node is another actor of the same name, which is found when the
    former one is dead.
    """

    def __init__(self, handle: Any, name: str) -> None:
        self.handle: Any = handle
        self._name = name
        self._queue: list[Pending] = []
        self._in_flight = 0
        self._scheduled = False
        self._incarnation: str | None = None
        self._presence = Presence(lambda: self.handle.presence_address.remote())

    @property
    def caller(self) -> str:
        """The name by which the host knows who calls."""
        return self._presence.caller

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        operation = operation_of(method)
        with TRACER.span(f"{HOST_CALL}.{operation.name}", {HOST: self._name}, kind="client"):
            return await self._call(operation, *args, **options)

    async def _call(self, operation: Operation[P, T], *args: P.args, **options: P.kwargs) -> T:
        if operation.is_for_caller:
            self._presence.begin()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._queue.append(Pending(operation, (operation.name, args, options), sent_caller(), answer))
        self._schedule(loop)
        try:
            result = await answer
        except asyncio.CancelledError:
            if not answer.cancelled():
                self._give_back(operation, answer.result())
            raise
        if isinstance(result, Waiting):
            result = await self._collect(operation, result)
        if isinstance(result, Failed):
            raise result.error
        return result

    def call_remote(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> "ray.ObjectRef[T]":
        """Send the call in a message of its own, which is not repeated if Ray loses it.

        May block for a moment.
        """
        if self.handle._get_local_state() == DEAD:
            with contextlib.suppress(ValueError):
                self.handle = ray.get_actor(self._name, namespace=NAMESPACE)
        return self.handle.call.remote(operation_of(method).name, *args, **options)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled and self._in_flight < MESSAGES_IN_FLIGHT_MAX and self._queue:
            self._scheduled = True
            loop.call_soon(self._send, loop)

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        batch, self._queue = self._queue[:CALLS_PER_MESSAGE_MAX], self._queue[CALLS_PER_MESSAGE_MAX:]
        batch = [pending for pending in batch if not pending.answer.done()]
        if batch:
            self._in_flight += 1
            loop.create_task(self._exchange(batch, loop))  # the futures keep it alive
        self._schedule(loop)

    async def _exchange(self, batch: list[Pending], loop: asyncio.AbstractEventLoop) -> None:
        try:
            calls: list[SentCall] = [(*pending.call, pending.caller) for pending in batch]
            results = await self._send_until_answered(calls)
        except RayError as error:
            await self._find_successor(error)
            results = [Failed(host_error(self._name, error))] * len(batch)
        except Exception as error:  # for example arguments that do not pickle: no caller may wait for ever
            results = [Failed(error)] * len(batch)
        finally:
            self._in_flight -= 1
            self._schedule(loop)
        for pending, result in zip(batch, results, strict=True):
            if not pending.answer.done():
                pending.answer.set_result(result)
            else:
                self._give_back(pending.operation, result)

    async def _send_until_answered(self, calls: list[SentCall]) -> list[Any]:
        message = secrets.token_hex(16)
        answers = await self._until_answered(
            lambda again_for: self.handle.call_many.remote(calls, message, again_for, self._presence.caller)
        )
        self._incarnation = answers.incarnation
        return answers.results

    async def _until_answered(self, send: Callable[[str | None], Awaitable[T]]) -> T:
        """Send a message until it is answered; ``send`` takes the process that may have run it already."""
        again_for: str | None = None
        for attempt in range(1, SENDS_MAX):
            try:
                return await send(again_for)
            except ActorUnavailableError:
                again_for = self._incarnation
                await asyncio.sleep(RESEND_SECONDS * 2 ** (attempt - 1))
        return await send(again_for)

    async def _collect(self, operation: Operation[..., Any], waiting: Waiting) -> Any:
        collected: asyncio.Future[Any] = asyncio.ensure_future(
            self._until_answered(lambda _: self.handle.collect.remote(waiting.token))
        )
        try:
            return await asyncio.shield(collected)
        except asyncio.CancelledError:
            self._give_back(operation, waiting)
            collected.add_done_callback(partial(self._give_back_collected, operation))
            raise
        except RayError as error:
            await self._find_successor(error)
            return Failed(host_error(self._name, error))

    async def _find_successor(self, error: RayError) -> None:
        if isinstance(error, ActorDiedError):
            with contextlib.suppress(ValueError, RayError):  # there is none yet
                self.handle = await asyncio.to_thread(ray.get_actor, self._name, NAMESPACE)

    def _give_back(self, operation: Operation[..., Any], result: object) -> None:
        """Cancel the waiting call, or take back the result, of a caller that gave up."""
        if isinstance(result, Waiting):
            self.handle.forget.remote(result.token)
        elif not isinstance(result, Failed) and (undo := operation.on_lost(result)) is not None:
            name, args, options = undo
            self.handle.call.remote(name, *args, **options)

    def _give_back_collected(self, operation: Operation[..., Any], collected: "asyncio.Future[Any]") -> None:
        if not collected.cancelled() and collected.exception() is None:
            self._give_back(operation, collected.result())


def connect_host(index: int) -> RayHostClient:
    """Find a running host; raises ``ValueError`` if none has that index."""
    name = host_name(index)
    handle = ray.get_actor(name, namespace=NAMESPACE)
    return RayHostClient(handle, name)


def host_handle(name: str) -> Any:
    """Find a host actor by its name, also one that Ray starts again; None if there is none any more."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def host_error(name: str, error: RayError) -> Exception:
    """Translate what Ray raises into the error that the host raised, or ``HostUnavailable``."""
    if isinstance(error, RayActorError):
        return HostUnavailable(name, "it is restarting")
    # The text of a task's error begins with the call stack, in colours; its cause says what happened.
    cause: object = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, PopulaceError):
        return cause
    if isinstance(error, RayTaskError) and not isinstance(cause, OSError):
        # Its message may quote what was said, and this one is logged.
        return HostUnavailable(name, f"{type(cause).__name__}; its own log has the details")
    return HostUnavailable(name, f"{type(cause).__name__}: {str(cause).split(chr(10), 1)[0]}")

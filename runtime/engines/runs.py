"""The replies that a replica makes: each request runs once, however often Ray delivers it.

Ray loses a message without saying whether it arrived, and Serve and the client send it again. Requests
with the same stream id ask for the same reply: the first runs, and the others get its outcome.
"""

import asyncio
import secrets
from contextlib import aclosing
from typing import Protocol

from populace.actors.engine import Delta, Engine, GenerateRequest, joined
from populace.actors.errors import EngineUnavailable
from populace.engines.channel import StreamTarget

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

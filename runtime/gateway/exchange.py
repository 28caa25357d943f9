"""One request on its way out: turns what a turn yields into an answer, whole or streamed."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from fastapi.responses import JSONResponse, Response

from populace.actors.engine import BaseInfo, Delta, joined
from populace.actors.errors import TurnExpired
from populace.actors.turn import Interaction, TurnGrant
from populace.actors.turns.turn_director import completion_id
from populace.gateway.errors import error_body, internal_error_body, status_of
from populace.gateway.event_stream import EventStream
from populace.gateway.metrics import GatewayMetrics
from populace.gateway.wire import DONE, ChunkWriter, Envelope, Provenance, event, usage_of
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)

Part = TurnGrant | Delta | Interaction
Turn = AsyncGenerator[Part, None]
"""A grant, deltas and an interaction; or an interaction alone; or, from the base, deltas alone."""


class Exchange(NamedTuple):
    """What both shapes of an answer need to know of the request. ``started`` is the metrics' time.

    Of the ``choices``, the one of the number ``kept`` is recorded.
    """

    metrics: GatewayMetrics
    base: BaseInfo
    model: str
    is_chat: bool
    wants_usage: bool
    started: float
    choices: int = 1
    kept: int | None = 0

    async def whole(self, turn: Turn) -> Response:
        """Answer the complete reply in one body. An answer from the log has no log probabilities."""
        deltas: list[list[Delta]] = [[] for _ in range(self.choices)]
        origin: TurnGrant | Interaction | None = None
        async with aclosing(turn) as parts:
            async for part in parts:
                if isinstance(part, Delta):
                    deltas[part.choice].append(part)
                else:
                    origin = part
        replies = [joined(one) for one in deltas if one]
        if isinstance(origin, Interaction) and self.choices == 1:
            replies = [_reply_of(origin, replies[0] if replies and not origin.replayed else None)]
            tokens = origin.completion_tokens
        else:
            tokens = sum(len(reply.token_ids) for reply in replies)
        provenance = self._provenance(origin)
        body = self._envelope(origin).whole(replies, tokens, provenance)
        self.metrics.replied(self.started, replies[0].prompt_tokens, tokens)
        return JSONResponse(body, headers=provenance.headers())

    async def streamed(self, turn: Turn) -> Response:
        """Answer a stream of events.

        The response starts with the first token, so that a refusal is still a status of its own.
        """
        try:
            origin = first = await anext(turn)
            if isinstance(first, TurnGrant):
                first = await anext(turn)
        except BaseException:
            await turn.aclose()
            raise
        self.metrics.first_token(self.started)
        envelope = self._envelope(origin)
        writers = [ChunkWriter(envelope, choice) for choice in range(self.choices)]
        if isinstance(first, Interaction):
            events = self._replayed(writers[0], first)
        else:
            assert isinstance(first, Delta)
            events = self._events(writers, turn, first, self._provenance(origin))
        return EventStream(events, turn, self._provenance(origin).headers())

    async def _events(
        self, writers: Sequence[ChunkWriter], turn: Turn, first: Delta, provenance: Provenance
    ) -> AsyncGenerator[bytes, None]:
        """Write tokens as they come; the last ones when the turn has ended, which is after its commit."""
        part: Part | None = first
        last: list[Delta] = []
        kept: list[str] = []
        tokens = 0
        try:
            while part is not None:
                if isinstance(part, Delta):
                    if part.choice == self.kept:
                        kept.append(part.text)
                    tokens += len(part.token_ids)
                    if part.finish_reason is not None:
                        last.append(part)
                    elif part.text or part.logprobs:
                        yield writers[part.choice].token(part)
                elif isinstance(part, Interaction):
                    provenance = _recorded(part, "".join(kept))
                part = await anext(turn, None)
            assert last, "a turn ends with a finish reason or an error"
        except PopulaceError as error:
            # The status is sent already: the stream ends with the error and without [DONE].
            yield event(error_body(str(error), status=status_of(type(error)), code=error.code))
            return
        except Exception:
            logger.exception("a stream failed")
            yield event(internal_error_body())
            return
        for delta in last:
            yield writers[delta.choice].last(delta, provenance)
        for ending in self._ending(writers[0], last[0].prompt_tokens, tokens):
            yield ending

    async def _replayed(self, writer: ChunkWriter, turn: Interaction) -> AsyncGenerator[bytes, None]:
        """Stream an acknowledged turn again: the same id and text, in one chunk."""
        yield writer.last(_reply_of(turn, None), Provenance.of_interaction(turn))
        for ending in self._ending(writer, turn.prompt_tokens, turn.completion_tokens):
            yield ending

    def _ending(self, writer: ChunkWriter, prompt_tokens: int, completion_tokens: int) -> list[bytes]:
        self.metrics.replied(self.started, prompt_tokens, completion_tokens)
        usage = usage_of(prompt_tokens, completion_tokens)
        return [writer.usage(usage), DONE] if self.wants_usage else [DONE]

    def _envelope(self, origin: Part | None) -> Envelope:
        created = int(time.time())
        if isinstance(origin, Interaction):
            identity, created = origin.completion_id, origin.created_ms // 1000
        elif isinstance(origin, TurnGrant):
            identity = completion_id(origin)
        else:
            identity = f"{'chatcmpl' if self.is_chat else 'cmpl'}-{secrets.token_hex(16)}"
        return Envelope(identity, self.model, created, self.is_chat)

    def _provenance(self, origin: Part | None) -> Provenance:
        if isinstance(origin, Interaction):
            return Provenance.of_interaction(origin)
        if isinstance(origin, TurnGrant):
            granted = Provenance.of_grant(origin)
            return granted if self.kept is not None else granted._replace(log_position=None)
        return Provenance.of_base(self.base)


def _recorded(turn: Interaction, streamed: str) -> Provenance:
    """Check that the log holds what was streamed; another call with the same operation may have won."""
    if turn.reply != streamed:
        reason = "another call with this Idempotency-Key was recorded first; send it again for that answer"
        raise TurnExpired(turn.model.name, reason)
    return Provenance.of_interaction(turn)


def _reply_of(turn: Interaction, generated: Delta | None) -> Delta:
    """The reply as the log has it, with the log probabilities of its generation where there was one."""
    return Delta(
        text=turn.reply,
        token_ids=(),
        prompt_tokens=turn.prompt_tokens,
        logprobs=() if generated is None else generated.logprobs,
        finish_reason=turn.finish_reason,
    )


async def until(deltas: AsyncGenerator[Delta, None], seconds_max: float, error: PopulaceError) -> Turn:
    """Pass deltas on; raise ``error`` when they take longer than ``seconds_max`` together.

    The timeout encloses each wait on its own: around a ``yield`` it would cancel whichever task
    began to read, and a stream is read by two.
    """
    deadline = asyncio.get_running_loop().time() + seconds_max
    async with aclosing(deltas):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    delta = await anext(deltas)
            except TimeoutError:
                raise error from None
            except StopAsyncIteration:
                return
            yield delta

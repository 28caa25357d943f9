"""Turns a running reply into an HTTP response, whole or streamed."""

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from fastapi.responses import JSONResponse, Response

from populace.actors.engine import BaseInfo, Delta, joined
from populace.actors.errors import TurnExpired
from populace.actors.turn import Interaction
from populace.actors.turns.running_reply import RunningReply
from populace.actors.turns.turn_director import completion_id
from populace.gateway.completions.call_reader import (
    CallPart,
    CallReader,
    chosen_choice,
    finish_reason,
    part_of,
)
from populace.gateway.completions.parameters import warnings_of_reply
from populace.gateway.completions.wire import (
    DONE,
    ChunkWriter,
    Envelope,
    Provenance,
    ReplyShape,
    event,
    usage_of,
)
from populace.gateway.http.errors import internal_error_body, populace_error_body
from populace.gateway.http.event_stream import EventStream
from populace.gateway.http.metrics import GatewayMetrics
from populace.storage.records.errors import PopulaceError


class CallWriter(ChunkWriter):
    """Writes the events of one choice that calls tools: each part of a call as it is made."""

    def __init__(self, envelope: Envelope, choice: int) -> None:
        super().__init__(envelope, choice)
        self._choice = choice
        self._reader = CallReader()

    def token(self, delta: Delta) -> bytes:
        """Write what the tokens add to the calls; nothing for what is between them."""
        parts = self._reader.read(delta.text)
        if not parts and not delta.logprobs and not self._shape.tells_more:
            return b""
        return self._event(delta, parts, None, {})

    def last(self, delta: Delta, provenance: Provenance) -> bytes:
        parts = self._reader.read(delta.text)
        more = {"populace": provenance._asdict(), **self._envelope.warned()}
        return self._event(delta, parts, finish_reason(delta, self._reader), more)

    def _event(self, delta: Delta, parts: list[CallPart], finish: str | None, more: dict[str, Any]) -> bytes:
        said: dict[str, Any] = {} if self._begun else {"role": "assistant", "content": None}
        self._begun = True
        if parts:
            said["tool_calls"] = [
                {"index": part.call, **part_of(part, self._envelope.completion_id, self._choice)}
                for part in parts
            ]
        choice: dict[str, Any] = {"index": self._choice, "delta": said, "finish_reason": finish}
        choice["logprobs"] = self._shape.logprobs(delta)
        if self._shape.token_ids:
            choice["token_ids"] = list(delta.token_ids)
        head = self._envelope.head("chat.completion.chunk")
        told = {**self._shape.of_prompt(delta), **self._counted(delta)}
        return event({**head, "choices": [choice], **told, **more})


class ChosenCallWriter(ChunkWriter):
    """Writes the events of a choice whose model may call tools. All calls are in an engine's last delta."""

    def __init__(self, envelope: Envelope, choice: int) -> None:
        super().__init__(envelope, choice)
        self._texts: list[str] = []

    def token(self, delta: Delta) -> bytes:
        self._texts.append(delta.text)
        return super().token(delta)

    def last(self, delta: Delta, provenance: Provenance) -> bytes:
        words = "".join(self._texts)
        whole = replace(delta, text=words + delta.text)
        said = chosen_choice(whole, self._envelope.completion_id)
        calls = said["message"].get("tool_calls")
        content = (said["message"]["content"] or "").removeprefix(words)
        if calls is None:
            return super().last(delta, provenance)
        is_told = content or not self._texts or delta.logprobs or self._shape.tells_more
        told = super().token(replace(delta, text=content)) if is_told else b""
        head = self._envelope.head("chat.completion.chunk")
        listed = [{"index": number, **call} for number, call in enumerate(calls)]
        choice = {"index": delta.choice, "delta": {"tool_calls": listed}, "finish_reason": "tool_calls"}
        counted = self._counted(replace(delta, token_ids=()) if is_told else delta)
        more = {**counted, "populace": provenance._asdict(), **self._envelope.warned()}
        return told + event({**head, "choices": [{**choice, "logprobs": None}], **more})


def writer_of(envelope: Envelope, choice: int) -> ChunkWriter:
    """Return the writer of the events of one choice."""
    if envelope.shape.calls:
        return CallWriter(envelope, choice)
    return (ChosenCallWriter if envelope.shape.may_call else ChunkWriter)(envelope, choice)


logger = logging.getLogger(__name__)

Begin = Callable[[], Awaitable[RunningReply]]
"""Begins the reply to a request; a refusal is raised here."""


class Replying(Protocol):
    """Makes a reply and sends it in one of two forms; see ``Exchange``."""

    async def whole(self, begin: Begin) -> Response: ...

    async def streamed(self, begin: Begin) -> Response: ...


class Exchange(NamedTuple):
    """What both shapes of a response need from the request. ``started`` is the time for the metrics.

    Of the ``choices`` to all prompts, the one with the index ``kept`` is recorded. ``peek`` says why none is.
    """

    metrics: GatewayMetrics
    base: BaseInfo
    model: str
    shape: ReplyShape
    wants_usage: bool
    started: float
    choices: int = 1
    kept: int | None = 0
    peek: str | None = None

    async def whole(self, begin: Begin) -> Response:
        """Return the complete reply in one body. A reply from the log has no log probabilities."""
        deltas: list[list[Delta]] = [[] for _ in range(self.choices)]
        async with aclosing(await begin()) as reply:
            async for delta in reply:
                deltas[delta.choice].append(self.shape.shown(delta))
        replies = [joined(parts) for parts in deltas if parts]
        turn = reply.interaction
        if turn is not None and self.choices == 1:
            replies = [_reply_of(turn, replies[0] if replies and not turn.replayed else None)]
            tokens = turn.completion_tokens
        else:
            tokens = sum(len(made.token_ids) for made in replies)
        provenance = self._provenance(reply).of_reply(*(made.finish_reason for made in replies))
        body = self._envelope(reply).whole(replies, tokens, provenance)
        self.metrics.replied(self.started, self.shape.prompt_tokens(replies), tokens)
        return JSONResponse(body, headers=provenance.headers())

    async def streamed(self, begin: Begin) -> Response:
        """Return a stream of events.

        The response starts with the first token, so that a refusal is still a status of its own.
        """
        reply = await begin()
        first = await first_delta(reply)
        self.metrics.first_token(self.started)
        provenance, envelope = self._provenance(reply), self._envelope(reply)
        writers = [writer_of(envelope, choice) for choice in range(self.choices)]
        if first is None:
            assert reply.interaction is not None, "a reply that is made has a delta"
            events = self._replayed(writers[0], reply.interaction)
        else:
            events = self._events(writers, reply, first, provenance)
        return EventStream(events, reply, provenance.headers())

    async def _events(
        self, writers: Sequence[ChunkWriter], reply: RunningReply, first: Delta, provenance: Provenance
    ) -> AsyncGenerator[bytes, None]:
        """Write tokens as they are generated; the last ones after the turn's commit."""
        delta: Delta | None = first
        last: list[Delta] = []
        kept: list[str] = []
        tokens = 0
        try:
            while delta is not None:
                delta = self.shape.shown(delta)
                if delta.choice == self.kept:
                    kept.append(delta.text)
                tokens += len(delta.token_ids)
                if delta.finish_reason is not None:
                    last.append(delta)
                elif delta.text or delta.logprobs or self.shape.tells_more:
                    written = writers[delta.choice].token(delta)
                    if written:
                        yield written
                delta = await anext(aiter(reply), None)
            if reply.interaction is not None:
                provenance = recorded(reply.interaction, "".join(kept))
            assert last, "a reply ends with a finish reason or an error"
        except PopulaceError as error:
            logger.warning("a stream ended with an error: %s", error)
            # The status is sent already: the stream ends with the error and without [DONE].
            yield event(populace_error_body(error))
            return
        except Exception:
            logger.exception("a stream failed")
            yield event(internal_error_body())
            return
        provenance = provenance.of_reply(*(ended.finish_reason for ended in last))
        for ended in last:
            yield writers[ended.choice].last(ended, provenance)
        for ending in self._ending(writers[0], self.shape.prompt_tokens(last), tokens):
            yield ending

    async def _replayed(self, writer: ChunkWriter, turn: Interaction) -> AsyncGenerator[bytes, None]:
        """Stream a recorded turn again, with the same id and text, in one chunk."""
        writer.tokens_told = turn.completion_tokens
        yield writer.last(_reply_of(turn, None), Provenance.of_interaction(turn))
        for ending in self._ending(writer, turn.prompt_tokens, turn.completion_tokens):
            yield ending

    def _ending(self, writer: ChunkWriter, prompt_tokens: int, completion_tokens: int) -> list[bytes]:
        self.metrics.replied(self.started, prompt_tokens, completion_tokens)
        usage = usage_of(prompt_tokens, completion_tokens)
        return [writer.usage(usage), DONE] if self.wants_usage else [DONE]

    def _envelope(self, reply: RunningReply) -> Envelope:
        created = int(time.time())
        if reply.interaction is not None:
            identity, created = reply.interaction.completion_id, reply.interaction.created_ms // 1000
        elif reply.grant is not None:
            identity = completion_id(reply.grant)
        else:
            identity = f"{'chatcmpl' if self.shape.is_chat else 'cmpl'}-{secrets.token_hex(16)}"
        warnings = (*self.shape.warnings, *warnings_of_reply("messages", reply))
        return Envelope(identity, self.model, created, self.shape._replace(warnings=warnings))

    def _provenance(self, reply: RunningReply) -> Provenance:
        told = provenance_of(reply, self.base, self.peek)
        leaves_no_turn = self.kept is None and self.peek is None
        return told._replace(log_position=None) if leaves_no_turn else told


async def first_delta(reply: RunningReply) -> Delta | None:
    """Wait for the first delta; None if the turn is in the log already. A reply that fails is closed."""
    try:
        return await anext(aiter(reply), None)
    except BaseException:
        await reply.aclose()
        raise


def provenance_of(reply: RunningReply, base: BaseInfo, peek: str | None) -> Provenance:
    """Say where a reply comes from, as far as it has come."""
    if reply.interaction is not None:
        return Provenance.of_interaction(reply.interaction)
    if reply.grant is None:
        return Provenance.of_base(base)._replace(peek=peek)
    if peek is None:
        return Provenance.of_grant(reply.grant)
    return Provenance.of_peek(reply.grant, peek, reply.retrieved)


def recorded(turn: Interaction, streamed: str, position: int | None = None) -> Provenance:
    """Check that the log holds what was streamed, and at the ``position`` that was told, if one was.

    Raises ``TurnExpired`` if it does not: another call of the same operation was committed first.
    """
    if turn.reply != streamed or position not in (None, turn.position):
        reason = "another call with this Idempotency-Key was recorded first; send it again for that answer"
        raise TurnExpired(turn.model.name, reason)
    return Provenance.of_interaction(turn)


def _reply_of(turn: Interaction, generated: Delta | None) -> Delta:
    """Return the reply as the log has it, with what else its generation told, if there was one."""
    told = Delta("", (), turn.prompt_tokens) if generated is None else generated
    return replace(told, text=turn.reply, prompt_tokens=turn.prompt_tokens, finish_reason=turn.finish_reason)

"""Turns a running reply into a response of ``/v1/responses``, whole or as a stream of its events."""

import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from fastapi.responses import Response

from populace.actors.engine import BaseInfo, Delta, joined
from populace.actors.turn import Interaction
from populace.actors.turns.running_reply import RunningReply
from populace.actors.turns.turn_director import completion_id
from populace.api.responses import (
    FunctionCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseObject,
    ResponseProblem,
)
from populace.gateway.completions.call_reader import CallPart, CallReader
from populace.gateway.completions.exchange import Begin, first_delta, provenance_of, recorded
from populace.gateway.completions.parameters import warnings_of_reply
from populace.gateway.completions.wire import Provenance
from populace.gateway.http.answers import answer
from populace.gateway.http.event_stream import EventStream
from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.responses.wire import (
    Draft,
    TurnKey,
    calling_in,
    logprobs_in,
    problem_of,
    reply_of,
    told_of,
)
from populace.storage.records.errors import PopulaceError

# Streams are ASCII: clients that split lines by Unicode's rules would cut a reply at U+2028.
_encode = json.JSONEncoder(separators=(",", ":")).encode


class EventWriter:
    """Writes the events of one response, in order and numbered."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._number = 0
        self._reader = CallReader()
        self._begun: list[OutputItem] = []
        self._told: list[str] = []
        """The text of each item that was begun, or its arguments, as far as they were told."""
        self._ended = 0

    def begin(self) -> list[bytes]:
        """Write what comes before the first token."""
        begun = self._draft.begun().model_dump()
        return [
            self.event("response.created", response=begun),
            self.event("response.in_progress", response=begun),
        ]

    def token(self, delta: Delta) -> list[bytes]:
        """Write the tokens that one engine step added, but those of the last step."""
        if self._draft.calling == "made":
            return [event for part in self._reader.read(delta.text) for event in self._called(part)]
        if not delta.text and self._draft.calling == "chosen":
            return []  # it may have no words
        begun = [] if self._begun else self._begin(self._draft.message())
        return [*begun, self._add(0, delta.text, logprobs_in(delta))]

    def end(self, last: Delta, response: ResponseObject) -> list[bytes]:
        """Write the rest after the ``last`` step, and the whole ``response``."""
        told = logprobs_in(last)
        events = [event for item in response.output[self._ended :] for event in self._end(item, told)]
        return [*events, self.event(f"response.{response.status}", response=response.model_dump())]

    def fail(self, problem: ResponseProblem) -> list[bytes]:
        """Write why nothing more comes."""
        failed = self._draft.failed(problem).model_dump()
        return [
            self.event("error", code=problem.type, message=problem.message, param=None),
            self.event("response.failed", response=failed),
        ]

    def event(self, kind: str, **fields: Any) -> bytes:
        body = _encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return f"event: {kind}\ndata: {body}\n\n".encode()

    def _called(self, part: CallPart) -> list[bytes]:
        begun = [] if part.name is None else self._begin(self._draft.call(part))
        events = [*begun, self._add(part.call, part.arguments, [])]
        if not part.ends:
            return events
        whole = {"arguments": self._told[part.call], "status": "completed"}
        return [*events, *self._end(self._begun[part.call].model_copy(update=whole), [])]

    def _begin(self, item: OutputItem) -> list[bytes]:
        """Write that an item begins, which has nothing in it yet."""
        nothing = {"content": ()} if isinstance(item, OutputMessage) else {"arguments": ""}
        place = len(self._begun)
        self._begun.append(item.model_copy(update={"status": "in_progress", **nothing}))
        self._told.append("")
        added = self.event(
            "response.output_item.added", output_index=place, item=self._begun[-1].model_dump()
        )
        if isinstance(item, FunctionCall):
            return [added]
        part = OutputText(text="").model_dump(exclude_none=True)
        return [added, self.event("response.content_part.added", **self._place(place), part=part)]

    def _add(self, place: int, text: str, logprobs: list[dict[str, Any]]) -> bytes:
        self._told[place] += text
        if isinstance(self._begun[place], FunctionCall):
            return self.event("response.function_call_arguments.delta", **self._place(place), delta=text)
        return self.event("response.output_text.delta", **self._place(place), delta=text, logprobs=logprobs)

    def _end(self, item: OutputItem, logprobs: list[dict[str, Any]]) -> list[bytes]:
        """Write what was not told yet of the item after those that ended, and its end."""
        place, self._ended = self._ended, self._ended + 1
        events = [] if place < len(self._begun) else self._begin(item)
        is_call = isinstance(item, FunctionCall)
        text = item.arguments if isinstance(item, FunctionCall) else item.content[0].text
        rest = text[len(self._told[place]) :]
        if rest or (logprobs and not is_call):
            events.append(self._add(place, rest, logprobs))
        shown = item.model_dump()
        if is_call:
            done = "response.function_call_arguments.done"
            events.append(self.event(done, **self._place(place), arguments=text))
        else:
            (part,) = shown["content"]
            told: list[dict[str, Any]] = part["logprobs"] or []
            done = "response.output_text.done"
            events.append(self.event(done, **self._place(place), text=text, logprobs=told))
            events.append(self.event("response.content_part.done", **self._place(place), part=part))
        return [*events, self.event("response.output_item.done", output_index=place, item=shown)]

    def _place(self, place: int) -> dict[str, Any]:
        item = self._begun[place]
        within = {} if isinstance(item, FunctionCall) else {"content_index": 0}
        return {"item_id": item.id, "output_index": place, **within}


logger = logging.getLogger(__name__)

NO_REPLY = ResponseProblem(
    code="server_error",
    message="The log has its message and no reply: its caller left, it failed, or it is being made just now.",
    type="no_reply",
)


class ResponseExchange(NamedTuple):
    """What both shapes of a response need from the request: see ``Exchange``.

    ``told`` are the response's fields that repeat the request.
    """

    metrics: GatewayMetrics
    base: BaseInfo
    told: Mapping[str, Any]
    warnings: tuple[dict[str, str], ...]
    started: float
    peek: str | None

    async def whole(self, begin: Begin) -> Response:
        """Return the complete response. One from the log has no log probabilities."""
        async with aclosing(await begin()) as reply:
            deltas = [delta async for delta in reply]
        turn = reply.interaction
        generated = joined(deltas) if deltas else None
        if turn is None:
            assert generated is not None, "a reply that is in no log has deltas"
            made, tokens = generated, len(generated.token_ids)
        else:
            made, tokens = reply_of(turn, generated), turn.completion_tokens
        provenance = provenance_of(reply, self.base, self.peek).of_reply(made.finish_reason)
        response = self._draft(reply).ended(made, tokens, provenance)
        self.metrics.replied(self.started, made.prompt_tokens, tokens)
        rendered = answer(response)
        rendered.headers.update(provenance.headers())
        return rendered

    async def streamed(self, begin: Begin) -> Response:
        """Return a stream of events.

        The response starts with the first token, so that a refusal is still a status of its own.
        """
        reply = await begin()
        first = await first_delta(reply)
        self.metrics.first_token(self.started)
        provenance = provenance_of(reply, self.base, self.peek)
        if first is None:
            assert reply.interaction is not None, "a reply that is made has a delta"
            events = self._replayed(reply.interaction)
        else:
            events = self._events(self._draft(reply), reply, first, provenance)
        return EventStream(events, reply, provenance.headers())

    async def _events(
        self, draft: Draft, reply: RunningReply, first: Delta, provenance: Provenance
    ) -> AsyncGenerator[bytes, None]:
        """Write tokens as they are generated; the last ones after the turn's commit."""
        writer = EventWriter(draft)
        for event in writer.begin():
            yield event
        deltas: list[Delta] = []
        delta: Delta | None = first
        try:
            while delta is not None:
                deltas.append(delta)
                is_last = delta.finish_reason is not None
                for event in writer.token(delta) if (delta.text or delta.logprobs) and not is_last else ():
                    yield event
                delta = await anext(aiter(reply), None)
            made = joined(deltas)
            if reply.interaction is not None:
                told_at = None if reply.grant is None else reply.grant.position
                provenance = recorded(reply.interaction, made.text, told_at)
        except PopulaceError as error:
            logger.warning("a stream ended with an error: %s", error)
            # The status is sent already: the stream ends with the error.
            for event in writer.fail(problem_of(error)):
                yield event
            return
        except Exception:
            logger.exception("a stream failed")
            for event in writer.fail(problem_of(None)):
                yield event
            return
        tokens = len(made.token_ids)
        self.metrics.replied(self.started, made.prompt_tokens, tokens)
        provenance = provenance.of_reply(made.finish_reason)
        for event in writer.end(deltas[-1], draft.ended(made, tokens, provenance)):
            yield event

    async def _replayed(self, turn: Interaction) -> AsyncGenerator[bytes, None]:
        """Stream a recorded turn again, with the same ids and text, in one part."""
        self.metrics.replied(self.started, turn.prompt_tokens, turn.completion_tokens)
        for event in events_of(turn):
            yield event

    def _draft(self, reply: RunningReply) -> Draft:
        warnings = (*self.warnings, *warnings_of_reply("input", reply))
        if reply.interaction is not None:
            return Draft.of_turn(reply.interaction, told_of(reply.interaction), warnings)
        grant, created = reply.grant, int(time.time())
        if grant is None or self.peek is not None:
            key = completion = secrets.token_hex(24)
            stored = False
        else:
            completion, stored = completion_id(grant), True
            key = str(TurnKey.of(grant.model.name, grant.position, completion))
        return Draft(key, created, self.told, stored, completion, calling_in(self.told), warnings)


def response_of(turn: Interaction) -> ResponseObject:
    """Return the response of a turn in the log."""
    draft = Draft.of_turn(turn, told_of(turn))
    if turn.answer is None:
        return draft.failed(NO_REPLY)
    return draft.ended(reply_of(turn), turn.completion_tokens, Provenance.of_interaction(turn))


def events_of(turn: Interaction) -> Sequence[bytes]:
    """Return the events of a turn in the log, with its reply in one part."""
    writer, made = EventWriter(Draft.of_turn(turn, told_of(turn))), reply_of(turn)
    if turn.answer is None:
        return [*writer.begin(), *writer.fail(NO_REPLY)]
    return [*writer.begin(), *writer.end(made, response_of(turn))]

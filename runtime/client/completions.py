"""Converts turns to chat completions over HTTP and back, whole and streamed."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from populace.actors.engine import FinishReason, Sampling
from populace.actors.errors import HostUnavailable
from populace.actors.peek import Peek
from populace.actors.tool_calls import said_of, wire_message
from populace.actors.turn import ChatRequest, Interaction
from populace.api.objects import ApiObject, milliseconds
from populace.api.turns import MemoryTraceObject
from populace.client.events import event_in
from populace.policies.degeneration import Degeneration
from populace.storage.records.errors import KEY_PREFIX
from populace.storage.rows.ledger import FIRST_ALIAS


class _MessageObject(ApiObject):
    content: str = ""


class _ChoiceObject(ApiObject):
    message: _MessageObject = _MessageObject()
    delta: _MessageObject = _MessageObject()
    finish_reason: FinishReason | None = None


class _UsageObject(ApiObject):
    prompt_tokens: int
    completion_tokens: int


class _ProvenanceObject(ApiObject):
    """The parts a reply was made from; see ``gateway.wire.Provenance``."""

    revision: str
    base: str
    log_position: int
    memory_version: int
    operation: str
    replayed: bool
    retrieved: tuple[int, ...] | None
    memory: MemoryTraceObject | None
    conversation: str | None
    degenerate: Degeneration | None = None


class _PeekProvenanceObject(ApiObject):
    """The parts a peek was made from."""

    revision: str
    base: str
    memory_version: int
    retrieved: tuple[int, ...] | None
    degenerate: Degeneration | None = None


class PeekCompletionObject(ApiObject):
    """A chat completion that is a peek at a personal model."""

    choices: tuple[_ChoiceObject, ...]
    usage: _UsageObject
    populace: _PeekProvenanceObject

    def value(self, request: ChatRequest) -> Peek:
        choice, made_with = self.choices[0], self.populace
        return Peek(
            model=request.turn.model,
            reply=choice.message.content,
            finish_reason=made_with.degenerate or choice.finish_reason or "stop",
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            revision=made_with.revision,
            base=made_with.base,
            memory_version=made_with.memory_version,
            retrieved=made_with.retrieved or (),
        )


class CompletionObject(ApiObject):
    """A chat completion of a personal model, or a chunk of one."""

    id: str
    created: int
    choices: tuple[_ChoiceObject, ...]
    usage: _UsageObject | None = None
    populace: _ProvenanceObject | None = None

    def interaction(self, request: ChatRequest) -> Interaction:
        """Make the turn of a whole completion; its messages are taken from the request."""
        assert self.usage is not None
        assert self.populace is not None
        return self.recorded(request, self.choices[0].message.content, self.usage, self.populace)

    def recorded(
        self, request: ChatRequest, reply: str, usage: _UsageObject, made_with: _ProvenanceObject
    ) -> Interaction:
        return Interaction(
            model=request.turn.model,
            position=made_with.log_position,
            operation=made_with.operation,
            completion_id=self.id,
            messages=request.messages,
            reply=reply,
            finish_reason=made_with.degenerate or self.choices[0].finish_reason or "stop",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            revision=made_with.revision,
            base=made_with.base,
            memory_version=made_with.memory_version,
            created_ms=milliseconds(self.created),
            conversation=made_with.conversation,
            replayed=made_with.replayed,
            memory=None if made_with.memory is None else made_with.memory.value(),
            retrieved=made_with.retrieved or (),
            instructions=request.instructions,
        )


def key_header(operation: str) -> dict[str, str | bytes]:
    """Return the ``Idempotency-Key`` header of an operation; one without a caller's key can be resent too."""
    return {"Idempotency-Key": operation.removeprefix(KEY_PREFIX).encode()}


def _repetition(sampling: Sampling) -> dict[str, int] | None:
    """Return what ends a reply that repeats itself; null is the server's default."""
    if sampling.ends_degenerate:
        return None
    return {} if (found := sampling.repetition_detection) is None else found._asdict()


def chat_body(request: ChatRequest, *, stream: bool = False) -> dict[str, Any]:
    """Return the body of ``POST /v1/chat/completions`` for this turn."""
    turn, sampling = request.turn, request.sampling
    body: dict[str, Any] = {
        "model": turn.model.name if turn.alias == FIRST_ALIAS else f"{turn.model.name}@{turn.alias}",
        "messages": [wire_message(said) for said in said_of(request.messages)],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "ignore_eos": sampling.ignore_eos,
        "repetition_penalty": sampling.repetition_penalty,
        "own_words_penalty": sampling.own_words_penalty,
        "min_p": sampling.min_p,
        "logit_bias": {str(token_id): bias for token_id, bias in sampling.logit_bias},
        "allowed_token_ids": list(sampling.allowed_token_ids),
        "bad_words": list(sampling.bad_words),
        "stop_token_ids": list(sampling.stop_token_ids),
        "min_tokens": sampling.min_tokens,
        "include_stop_str_in_output": sampling.include_stop,
        "skip_special_tokens": sampling.skip_special_tokens,
        "repetition_detection": _repetition(sampling),
        "memory": request.memory._asdict(),
        "conversation": turn.history_of,
        "instructions_first": request.instructions,
        "turn_seconds_max": turn.turn_seconds_max,
        # Else an alias that may be a digest's beginning could make it a peek, which has no key.
        "peek": False,
    }
    if sampling.response_schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": json.loads(sampling.response_schema), "strict": True},
        }
    if sampling.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    wanted = turn.retrieval
    if wanted is None:
        body["context"] = {"retrieve": 0, "corrections": False, "told": False}
    elif wanted.count or not (wanted.corrections and wanted.told):
        body["context"] = {"retrieve": wanted.count, "corrections": wanted.corrections, "told": wanted.told}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


async def parts_of(
    request: ChatRequest, lines: AsyncIterator[str], url: str
) -> AsyncGenerator[str | Interaction, None]:
    """Read a stream's events: yields the texts of the reply, and last its turn.

    Raises the error that the stream ends with, and ``HostUnavailable`` if the stream breaks off.
    """
    texts: list[str] = []
    last: CompletionObject | None = None
    usage: _UsageObject | None = None
    async for line in lines:
        told = event_in(line)
        if told is None:
            continue
        chunk = CompletionObject.model_validate(told)
        usage = chunk.usage or usage
        if chunk.populace is not None:
            last = chunk
        for choice in chunk.choices:
            if choice.delta.content:
                texts.append(choice.delta.content)
                yield choice.delta.content
    if last is None or usage is None or last.populace is None:
        raise HostUnavailable(url, "the stream broke off")
    yield last.recorded(request, "".join(texts), usage, last.populace)

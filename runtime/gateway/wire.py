"""OpenAI's response shapes, for chat and text completions, whole and streamed."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from populace.actors.engine import BaseInfo, Delta, FinishReason, TokenLogprob
from populace.actors.turn import Interaction, TurnGrant
from populace.api.turns import MemoryTraceObject

DONE = b"data: [DONE]\n\n"

# Streams are ASCII: clients that split lines by Unicode's rules would cut a reply at U+2028.
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Provenance(NamedTuple):
    """What a reply was made with (promise P12); ``log_position`` None means that it is in no log.

    ``retrieved`` has the positions in ``Interaction.retrieved``, ``memory`` says how the turn used the
    memory, ``conversation`` names the turn's conversation; each is None where none is recorded. ``peek`` says
    why the reply is a peek, which leaves no trace: see ``reason_to_peek``.
    """

    revision: str
    base: str
    log_position: int | None
    memory_version: int | None
    operation: str | None
    replayed: bool = False
    retrieved: tuple[int, ...] | None = None
    memory: dict[str, bool | int | None] | None = None
    conversation: str | None = None
    peek: str | None = None

    @classmethod
    def of_grant(cls, grant: TurnGrant) -> "Provenance":
        return cls(grant.revision, grant.base, grant.position, grant.memory_version, grant.operation)

    @classmethod
    def of_peek(cls, grant: TurnGrant, peek: str) -> "Provenance":
        return cls(grant.revision, grant.base, None, grant.memory_version, None, peek=peek)

    @classmethod
    def of_interaction(cls, turn: Interaction) -> "Provenance":
        return cls(
            turn.revision,
            turn.base,
            turn.position,
            turn.memory_version,
            turn.operation,
            turn.replayed,
            turn.retrieved,
            None if turn.memory is None else MemoryTraceObject.of(turn.memory).model_dump(),
            turn.conversation,
        )

    @classmethod
    def of_base(cls, base: BaseInfo) -> "Provenance":
        return cls("base", base.fingerprint, None, None, None)

    def headers(self) -> dict[str, str]:
        fields = {
            "x-populace-revision": self.revision,
            "x-populace-base": self.base,
            "x-populace-log-position": self.log_position,
            "x-populace-memory-version": self.memory_version,
            "x-populace-peek": self.peek,
        }
        return {name: str(value) for name, value in fields.items() if value is not None}


class Envelope(NamedTuple):
    """The fields that all parts of one completion share. ``is_chat`` selects the shape."""

    completion_id: str
    model: str
    created: int
    is_chat: bool

    def whole(
        self, replies: Sequence[Delta], completion_tokens: int, provenance: Provenance
    ) -> dict[str, Any]:
        """Render complete replies to one prompt."""
        return {
            **self.head("chat.completion" if self.is_chat else "text_completion"),
            "choices": [self._choice(reply) for reply in replies],
            "usage": usage_of(replies[0].prompt_tokens, completion_tokens),
            "populace": provenance._asdict(),
        }

    def head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
        }

    def _choice(self, reply: Delta) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": reply.choice, "finish_reason": reply.finish_reason}
        choice["logprobs"] = logprobs_of(reply.logprobs, is_chat=self.is_chat)
        if self.is_chat:
            choice["message"] = {"role": "assistant", "content": reply.text, "refusal": None}
        else:
            choice["text"] = reply.text
        return choice


class ChunkWriter:
    """Writes the events of one choice of a stream, in order.

    A token's event is three pieces joined, of which only the middle is encoded each time: this runs for
    every token of every stream, on the processors that the engine needs.
    """

    def __init__(self, envelope: Envelope, choice: int) -> None:
        self._is_chat = envelope.is_chat
        kind = "chat.completion.chunk" if envelope.is_chat else "text_completion"
        self._head = b"data: " + _encode(envelope.head(kind)).encode()[:-1] + b',"choices":['
        text = b'"delta":{"content":' if envelope.is_chat else b'"text":'
        role = b'"delta":{"role":"assistant","content":' if envelope.is_chat else b'"text":'
        index = b'{"index":%d,' % choice
        self._following = self._head + index + text
        self._before = self._head + index + role
        self._close = b"}" if envelope.is_chat else b""
        self._after = self._close + b',"finish_reason":null,"logprobs":null}]}\n\n'
        self._text_length = 0

    def token(self, delta: Delta) -> bytes:
        """Write the tokens that one engine step added."""
        before, self._before = self._before, self._following
        if not delta.logprobs:
            self._text_length += len(delta.text)
            return before + _encode(delta.text).encode() + self._after
        return before + self._rest(delta, None) + b"]}\n\n"

    def last(self, delta: Delta, provenance: Provenance) -> bytes:
        """Write the end of the reply, with what it was made with."""
        made_with = _encode(provenance._asdict()).encode()
        rest = self._rest(delta, delta.finish_reason)
        return self._before + rest + b'],"populace":' + made_with + b"}\n\n"

    def usage(self, usage: dict[str, int]) -> bytes:
        return self._head + b'],"usage":' + _encode(usage).encode() + b"}\n\n"

    def _rest(self, delta: Delta, finish_reason: FinishReason | None) -> bytes:
        rows = logprobs_of(delta.logprobs, is_chat=self._is_chat, offset=self._text_length)
        self._text_length += len(delta.text)
        ending = {"finish_reason": finish_reason, "logprobs": rows}
        return _encode(delta.text).encode() + self._close + b"," + _encode(ending).encode()[1:]


def event(body: dict[str, Any]) -> bytes:
    """Encode one server-sent event."""
    return b"data: " + _encode(body).encode() + b"\n\n"


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def logprobs_of(rows: tuple[TokenLogprob, ...], *, is_chat: bool, offset: int = 0) -> dict[str, Any] | None:
    """Render log probabilities; None if none were asked for.

    ``offset`` counts the characters of the reply before the first row's token.
    """
    if not rows:
        return None
    if is_chat:
        return {"content": [_chat_logprob(row) for row in rows], "refusal": None}
    offsets: list[int] = []
    for row in rows:
        offsets.append(offset)
        offset += len(row.text)
    return {
        "tokens": [row.text for row in rows],
        "token_logprobs": [row.logprob for row in rows],
        "top_logprobs": [{text: logprob for _, text, logprob in row.top} for row in rows],
        "text_offset": offsets,
    }


def _chat_logprob(row: TokenLogprob) -> dict[str, Any]:
    entry = _logprob_entry(row.text, row.logprob)
    entry["top_logprobs"] = [_logprob_entry(text, logprob) for _, text, logprob in row.top]
    return entry


def _logprob_entry(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

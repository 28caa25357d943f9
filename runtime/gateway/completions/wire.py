"""OpenAI's response shapes, for chat and text completions, whole and streamed.

``api/completions.py`` describes them; ``tests/runtime/gateway/test_openapi.py`` compares the two.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

from populace.actors.engine import BaseInfo, Delta, Prompt, PromptRead, TokenLogprob
from populace.actors.turn import Interaction, TurnGrant
from populace.api.turns import MemoryTraceObject
from populace.gateway.completions.call_reader import calling_choice, chosen_choice, ended_as
from populace.policies.degeneration import Degeneration

DONE = b"data: [DONE]\n\n"

# Streams are ASCII: clients that split lines by Unicode's rules would cut a reply at U+2028.
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Provenance(NamedTuple):
    """What a reply was made with (promise P12); ``log_position`` None means that it is in no log.

    ``retrieved`` has the positions in ``Interaction.retrieved``, or those in ``Peek.retrieved``, ``memory``
    says how the turn used the memory, ``conversation`` names the turn's conversation; each is None where none
    is recorded, but for what a peek was told from. ``peek`` says why the reply is a peek, which leaves no
    trace: see ``reason_to_peek``. ``degenerate`` says what a reply had become that was ended for it.
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
    degenerate: Degeneration | None = None

    @classmethod
    def of_grant(cls, grant: TurnGrant) -> "Provenance":
        return cls(grant.revision, grant.base, grant.position, grant.memory_version, grant.operation)

    @classmethod
    def of_peek(cls, grant: TurnGrant, peek: str, retrieved: tuple[int, ...]) -> "Provenance":
        return cls(
            grant.revision, grant.base, None, grant.memory_version, None, retrieved=retrieved, peek=peek
        )

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
        ).of_reply(turn.finish_reason)

    @classmethod
    def of_base(cls, base: BaseInfo) -> "Provenance":
        return cls("base", base.fingerprint, None, None, None)

    def of_reply(self, *reasons: str | None) -> Self:
        """Say how the first one of the replies that ended for these reasons degenerated, if one did."""
        found = next((reason for reason in reasons if reason == "repetition" or reason == "noise"), None)
        return self._replace(degenerate=found)

    def headers(self) -> dict[str, str]:
        fields = {
            "x-populace-revision": self.revision,
            "x-populace-base": self.base,
            "x-populace-log-position": self.log_position,
            "x-populace-memory-version": self.memory_version,
            "x-populace-peek": self.peek,
        }
        return {name: str(value) for name, value in fields.items() if value is not None}


class ReplyShape(NamedTuple):
    """What a completion's caller asked to see of it. ``is_chat`` selects OpenAI's shape.

    With ``echo`` a text begins with its prompt, which is one of these. ``counts`` False shows the prompt
    alone, for a request to only read it. With ``counts_tokens`` each chunk of a stream has the usage so far.
    ``per_prompt`` is the number of replies to each prompt. With
    ``calls`` a reply calls tools, with ``may_call`` it may: see ``call_reader.py``.
    """

    is_chat: bool
    echo: tuple[Prompt, ...] = ()
    counts: bool = True
    per_prompt: int = 1
    token_ids: bool = False
    prompt_text: bool = False
    prompt_logprobs: bool = False
    tokens_as_ids: bool = False
    counts_tokens: bool = False
    calls: bool = False
    may_call: bool = False
    warnings: tuple[dict[str, str], ...] = ()

    @property
    def tells_more(self) -> bool:
        """Whether a token needs more than its text in a stream."""
        return bool(self.echo) or self.token_ids or self.prompt_text or self.counts_tokens

    def shown(self, delta: Delta) -> Delta:
        """Return what the caller is to see of a delta."""
        if self.counts:
            return delta
        ended = None if delta.finish_reason is None else "length"
        return replace(delta, text="", token_ids=(), logprobs=(), finish_reason=ended)

    def prompt_tokens(self, replies: Sequence[Delta]) -> int:
        """Count the tokens of all prompts once."""
        return sum(reply.prompt_tokens for reply in replies if reply.choice % self.per_prompt == 0)

    def echoed(self, delta: Delta) -> str:
        """Return what the text of a choice begins with."""
        if not self.echo:
            return ""
        prompt = self.echo[delta.choice // self.per_prompt]
        if isinstance(prompt, str):
            return prompt
        assert delta.prompt is not None, "it is asked for with an echo"
        return delta.prompt.text

    def logprobs(self, delta: Delta, offset: int = 0) -> dict[str, Any] | None:
        """Render log probabilities, those of an echoed prompt too."""
        prompt = delta.prompt if self.echo else None
        return logprobs_of(
            delta.logprobs, is_chat=self.is_chat, offset=offset, prompt=prompt, as_ids=self.tokens_as_ids
        )

    def of_prompt(self, delta: Delta) -> dict[str, Any]:
        """Render what was asked for of the prompt; vLLM's names."""
        read = delta.prompt
        if read is None:
            return {}
        told: dict[str, Any] = {}
        if self.token_ids:
            told["prompt_token_ids"] = list(read.ids)
        if self.prompt_text:
            told["prompt_text"] = read.text
        if self.prompt_logprobs:
            told["prompt_logprobs"] = [None, *(_ranked(row) for row in read.logprobs)]
        return told


class Envelope(NamedTuple):
    """The fields that all parts of one completion share."""

    completion_id: str
    model: str
    created: int
    shape: ReplyShape

    @property
    def is_chat(self) -> bool:
        return self.shape.is_chat

    def whole(
        self, replies: Sequence[Delta], completion_tokens: int, provenance: Provenance
    ) -> dict[str, Any]:
        """Render complete replies to one prompt, or to several."""
        return {
            **self.head("chat.completion" if self.is_chat else "text_completion"),
            "choices": [self._choice(reply) for reply in replies],
            "usage": usage_of(self.shape.prompt_tokens(replies), completion_tokens),
            **(self.shape.of_prompt(replies[0]) if self.is_chat else {}),
            "populace": provenance._asdict(),
            **self.warned(),
        }

    def warned(self) -> dict[str, Any]:
        """Return the parameters that changed nothing, if there were any."""
        return {"warnings": list(self.shape.warnings)} if self.shape.warnings else {}

    def head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
        }

    def _choice(self, reply: Delta) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": reply.choice, "finish_reason": ended_as(reply)}
        choice["logprobs"] = self.shape.logprobs(reply)
        if self.shape.token_ids:
            choice["token_ids"] = list(reply.token_ids)
        if self.shape.calls:
            choice |= calling_choice(reply, self.completion_id)
        elif self.shape.may_call:
            choice |= chosen_choice(reply, self.completion_id)
        elif self.is_chat:
            choice["message"] = {"role": "assistant", "content": reply.text, "refusal": None}
        else:
            choice["text"] = self.shape.echoed(reply) + reply.text
            choice |= self.shape.of_prompt(reply)
        return choice


class ChunkWriter:
    """Writes the events of one choice of a stream, in order.

    A token's event is three pieces joined, of which only the middle is encoded each time: this runs for
    every token of every stream, on the processors that the engine needs.
    """

    def __init__(self, envelope: Envelope, choice: int) -> None:
        self._envelope = envelope
        self._shape = envelope.shape
        self._begun = False
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
        self.tokens_told = 0
        """How many tokens the chunks so far are of; counted if they say it."""

    def token(self, delta: Delta) -> bytes:
        """Write the tokens that one engine step added."""
        before, self._before = self._before, self._following
        if not delta.logprobs and not self._shape.tells_more:
            self._text_length += len(delta.text)
            return before + _encode(delta.text).encode() + self._after
        return before + self._rest(delta, None) + b"]" + self._besides(delta) + b"}\n\n"

    def last(self, delta: Delta, provenance: Provenance) -> bytes:
        """Write the end of the reply, with what it was made with."""
        made_with = _encode(provenance._asdict()).encode()
        rest = self._rest(delta, ended_as(delta)) + b"]" + self._besides(delta)
        warned = b"," + _encode(self._envelope.warned()).encode()[1:-1] if self._shape.warnings else b""
        return self._before + rest + b',"populace":' + made_with + warned + b"}\n\n"

    def usage(self, usage: dict[str, int]) -> bytes:
        return self._head + b'],"usage":' + _encode(usage).encode() + b"}\n\n"

    def _rest(self, delta: Delta, finish_reason: str | None) -> bytes:
        rows = self._shape.logprobs(delta, self._text_length)
        text = delta.text if self._begun else self._shape.echoed(delta) + delta.text
        self._begun = True
        self._text_length += len(text)
        ending: dict[str, Any] = {"finish_reason": finish_reason, "logprobs": rows}
        if self._shape.token_ids:
            ending["token_ids"] = list(delta.token_ids)
        if not self._shape.is_chat:
            ending |= self._shape.of_prompt(delta)
        return _encode(text).encode() + self._close + b"," + _encode(ending).encode()[1:]

    def _counted(self, delta: Delta) -> dict[str, Any]:
        """Return the usage of the choice up to this delta, if its chunk is to have it."""
        if not self._shape.counts_tokens:
            return {}
        self.tokens_told += len(delta.token_ids)
        return {"usage": usage_of(delta.prompt_tokens, self.tokens_told)}

    def _besides(self, delta: Delta) -> bytes:
        told = {**(self._shape.of_prompt(delta) if self._shape.is_chat else {}), **self._counted(delta)}
        return b"," + _encode(told).encode()[1:-1] if told else b""


def event(body: dict[str, Any]) -> bytes:
    """Encode one server-sent event."""
    return b"data: " + _encode(body).encode() + b"\n\n"


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def logprobs_of(
    rows: tuple[TokenLogprob, ...],
    *,
    is_chat: bool,
    offset: int = 0,
    prompt: PromptRead | None = None,
    as_ids: bool = False,
) -> dict[str, Any] | None:
    """Render log probabilities; None if none were asked for.

    ``offset`` counts the characters of the reply before the first row's token. Those of a ``prompt`` come
    first; its first token follows nothing and has none. ``as_ids`` writes each token as its id.
    """
    if as_ids:
        rows = tuple(_as_ids(row) for row in rows)
    if is_chat:
        return {"content": [_chat_logprob(row) for row in rows], "refusal": None} if rows else None
    texts: list[str] = []
    if prompt is not None and prompt.first is not None:
        texts = [_token_name(prompt.ids[0]) if as_ids else prompt.first]
        rows = (*(_as_ids(row) if as_ids else row for row in prompt.logprobs), *rows)
    if not (texts or rows):
        return None
    nothing: list[None] = [None] * len(texts)
    texts += [row.text for row in rows]
    offsets: list[int] = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [*nothing, *(row.logprob for row in rows)],
        "top_logprobs": [*nothing, *({text: logprob for _, text, logprob in row.top} for row in rows)],
        "text_offset": offsets,
    }


def _as_ids(row: TokenLogprob) -> TokenLogprob:
    top = tuple((token_id, _token_name(token_id), logprob) for token_id, _, logprob in row.top)
    return row._replace(text=_token_name(row.token_id), top=top)


def _token_name(token_id: int) -> str:
    """Write a token as vLLM does for callers that cannot tell tokens apart by their text."""
    return f"token_id:{token_id}"


def _ranked(row: TokenLogprob) -> dict[str, dict[str, Any]]:
    """Render a token of a prompt and its alternatives as vLLM does; beyond these, its rank is not known."""

    def entry(text: str, logprob: float, rank: int | None) -> dict[str, Any]:
        return {"logprob": logprob, "rank": rank, "decoded_token": text}

    ranked = {
        str(token_id): entry(text, logprob, rank) for rank, (token_id, text, logprob) in enumerate(row.top, 1)
    }
    return {str(row.token_id): entry(row.text, row.logprob, None)} | ranked


def _chat_logprob(row: TokenLogprob) -> dict[str, Any]:
    entry = _logprob_entry(row.text, row.logprob)
    entry["top_logprobs"] = [_logprob_entry(text, logprob) for _, text, logprob in row.top]
    return entry


def _logprob_entry(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

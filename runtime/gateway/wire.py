"""OpenAI's response shapes, for chat and text completions, whole and streamed."""

import json
import time
from typing import Any, NamedTuple

from populace.actors.engine import BaseInfo, Delta, TokenLogprob
from populace.actors.turn import Interaction, TurnGrant

DONE = b"data: [DONE]\n\n"


class Provenance(NamedTuple):
    """What an answer was made with (promise P12); ``log_position`` None means it is in no log."""

    revision: str
    base: str
    log_position: int | None
    memory_version: int | None
    operation: str | None
    replayed: bool = False

    @classmethod
    def of_grant(cls, grant: TurnGrant) -> "Provenance":
        return cls(grant.revision, grant.base, grant.position, grant.memory_version, grant.operation)

    @classmethod
    def of_interaction(cls, turn: Interaction) -> "Provenance":
        return cls(
            turn.revision, turn.base, turn.position, turn.memory_version, turn.operation, turn.replayed
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
        }
        return {name: str(value) for name, value in fields.items() if value is not None}


class Envelope(NamedTuple):
    """What all parts of one completion share. ``is_chat`` chooses between the two shapes."""

    completion_id: str
    model: str
    created: int
    is_chat: bool

    @classmethod
    def new(cls, completion_id: str, model: str, *, is_chat: bool) -> "Envelope":
        return cls(completion_id, model, int(time.time()), is_chat)

    def whole(
        self, text: str, finish_reason: str, usage: dict[str, int], provenance: Provenance, logprobs: Any
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": logprobs}
        if self.is_chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        body = self._body("chat.completion" if self.is_chat else "text_completion", [choice])
        return {**body, "usage": usage, "populace": provenance._asdict()}

    def chunk(self, text: str, *, is_first: bool, logprobs: Any) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": None, "logprobs": logprobs}
        self._fill(choice, text, is_first=is_first)
        return event(self._chunk_body([choice]))

    def last_chunk(
        self, text: str, finish_reason: str, provenance: Provenance, *, is_first: bool, logprobs: Any
    ) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": logprobs}
        self._fill(choice, text, is_first=is_first)
        return event({**self._chunk_body([choice]), "populace": provenance._asdict()})

    def usage_chunk(self, usage: dict[str, int]) -> bytes:
        return event({**self._chunk_body([]), "usage": usage})

    def _fill(self, choice: dict[str, Any], text: str, *, is_first: bool) -> None:
        if self.is_chat:
            choice["delta"] = {"role": "assistant", "content": text} if is_first else {"content": text}
        else:
            choice["text"] = text

    def _chunk_body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._body("chat.completion.chunk" if self.is_chat else "text_completion", choices)

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def event(body: dict[str, Any]) -> bytes:
    """Encode one server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def logprobs_of(rows: tuple[TokenLogprob, ...], *, is_chat: bool) -> dict[str, Any] | None:
    """Render log probabilities; None if none were asked for."""
    if not rows:
        return None
    if is_chat:
        return {"content": [_chat_logprob(row) for row in rows], "refusal": None}
    return {
        "tokens": [row.text for row in rows],
        "token_logprobs": [row.logprob for row in rows],
        "top_logprobs": [{text: logprob for _, text, logprob in row.top} for row in rows],
        "text_offset": [],
    }


def _chat_logprob(row: TokenLogprob) -> dict[str, Any]:
    entry = _logprob_entry(row.text, row.logprob)
    entry["top_logprobs"] = [_logprob_entry(text, logprob) for _, text, logprob in row.top]
    return entry


def _logprob_entry(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def final_of(deltas: list[Delta]) -> Delta:
    """Join the deltas of a complete reply."""
    return Delta(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        prompt_tokens=deltas[-1].prompt_tokens,
        logprobs=tuple(row for delta in deltas for row in delta.logprobs),
        finish_reason=deltas[-1].finish_reason,
    )

"""The events of a stream that calls tools."""

from typing import Any

from populace.actors.engine import Delta
from populace.gateway.call_reader import CallPart, CallReader, finish_reason, part_of
from populace.gateway.wire import ChunkWriter, Envelope, Provenance, event


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
        return event({**head, "choices": [choice], **self._shape.of_prompt(delta), **more})

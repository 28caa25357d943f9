"""The events of a stream that calls tools."""

from dataclasses import replace
from typing import Any

from populace.actors.engine import Delta
from populace.gateway.completions.call_reader import (
    CallPart,
    CallReader,
    chosen_choice,
    finish_reason,
    part_of,
)
from populace.gateway.completions.wire import ChunkWriter, Envelope, Provenance, event


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

"""The events of a response's stream, as OpenAI's."""

import json
from typing import Any

from populace.actors.engine import Delta
from populace.api.responses import (
    FunctionCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseObject,
    ResponseProblem,
)
from populace.gateway.completions.call_reader import CallPart, CallReader
from populace.gateway.responses.wire import Draft, logprobs_in

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

"""Responses and their events on the wire, and the ids that say which turn a response is."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from populace.actors.engine import Delta, Message
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import Interaction
from populace.api.objects import seconds
from populace.api.responses import (
    IncompleteDetails,
    InputMessage,
    InputText,
    Item,
    OutputMessage,
    OutputText,
    ResponseNote,
    ResponseObject,
    ResponseProblem,
    ResponseUsage,
)
from populace.gateway.errors import error_body, status_of
from populace.gateway.wire import Provenance, logprobs_of
from populace.policies.history import CONVERSATION_PREFIX
from populace.storage.records.errors import PopulaceError

RESPONSE_PREFIX = "resp_"
CHECK_LENGTH = 16
_ID = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})_([0-9a-f]{1,16})_([0-9a-f]{16})")
POSITION_MAX = 2**63

# Streams are ASCII: clients that split lines by Unicode's rules would cut a reply at U+2028.
_encode = json.JSONEncoder(separators=(",", ":")).encode


class TurnKey(NamedTuple):
    """What the id of a response says: whose turn, at which position, and how its completion id ends.

    The end distinguishes the turn from that of a namesake, who was created after the model was erased.
    """

    model: str
    position: int
    check: str

    @classmethod
    def of(cls, model: str, position: int, completion_id: str) -> "TurnKey":
        return cls(model, position, completion_id[-CHECK_LENGTH:])

    @classmethod
    def of_turn(cls, turn: Interaction) -> "TurnKey":
        return cls.of(turn.model.name, turn.position, turn.completion_id)

    @classmethod
    def in_id(cls, identity: str, prefix: str = RESPONSE_PREFIX) -> "TurnKey | None":
        """Read it from an id; None if the id is that of no turn."""
        match = _ID.fullmatch(identity.removeprefix(prefix)) if identity.startswith(prefix) else None
        if match is None or int(match[2], 16) >= POSITION_MAX:
            return None
        return cls(match[1], int(match[2], 16), match[3])

    def __str__(self) -> str:
        return f"{self.model}_{self.position:x}_{self.check}"


class Draft(NamedTuple):
    """A response that is being made. ``key`` identifies it; ``told`` repeats its request."""

    key: str
    created: int
    told: Mapping[str, Any]
    stored: bool
    warnings: tuple[dict[str, str], ...] = ()

    @classmethod
    def of_turn(
        cls, turn: Interaction, told: Mapping[str, Any], warnings: tuple[dict[str, str], ...] = ()
    ) -> "Draft":
        return cls(str(TurnKey.of_turn(turn)), seconds(turn.created_ms), told, stored=True, warnings=warnings)

    @property
    def item_id(self) -> str:
        return f"msg_{self.key}_out"

    def begun(self) -> ResponseObject:
        return self._object(status="in_progress")

    def ended(self, reply: Delta, tokens: int, provenance: Provenance) -> ResponseObject:
        """Return the response with its reply, of as many ``tokens``."""
        is_whole = reply.finish_reason != "length"
        return self._object(
            status="completed" if is_whole else "incomplete",
            incomplete_details=None if is_whole else IncompleteDetails(),
            output=(self.message(reply),),
            usage=ResponseUsage(
                input_tokens=reply.prompt_tokens,
                output_tokens=tokens,
                total_tokens=reply.prompt_tokens + tokens,
            ),
            populace=provenance._asdict(),
        )

    def failed(self, problem: ResponseProblem) -> ResponseObject:
        return self._object(status="failed", error=problem)

    def message(self, reply: Delta) -> OutputMessage:
        """Return the reply as an item."""
        return OutputMessage(
            id=self.item_id,
            status="incomplete" if reply.finish_reason == "length" else "completed",
            content=(OutputText(text=reply.text, logprobs=tuple(logprobs_in(reply)) or None),),
        )

    def _object(self, **fields: Any) -> ResponseObject:
        own = {"id": f"{RESPONSE_PREFIX}{self.key}", "created_at": self.created, "store": self.stored}
        return ResponseObject.model_validate({**self.told, **own, "warnings": self.warnings, **fields})


def told_of(turn: Interaction) -> dict[str, Any]:
    """Return the fields of a turn's response that repeat its request; those of a chat are not kept.

    Their ids name the model as it is called now: its log may come from a model of another name.
    """
    note = _note_of(turn)
    told: dict[str, Any] = {"model": turn.model.name} if note is None else note.told
    if followed := told.get("previous_response_id"):
        told["previous_response_id"] = _of_model(turn, followed, RESPONSE_PREFIX)
    if conversation := told.get("conversation"):
        told["conversation"] = {"id": _of_model(turn, conversation["id"], CONVERSATION_PREFIX)}
    if turn.instructions:
        told["instructions"] = turn.messages[0].content
    return told


def _of_model(turn: Interaction, identity: str, prefix: str) -> str:
    key = TurnKey.in_id(identity, prefix)
    return identity if key is None else f"{prefix}{key._replace(model=turn.model.name)}"


def _note_of(turn: Interaction) -> ResponseNote | None:
    return ResponseNote.model_validate_json(turn.note) if turn.note else None


def input_of(turn: Interaction) -> tuple[Item, ...]:
    """Return the input of a turn's response as items: without instructions, and turns that it was shown."""
    own, note = turn.messages[turn.instructions :], _note_of(turn)
    if note is not None:
        own = own[-note.items :]
    key = TurnKey.of_turn(turn)
    return tuple(_item(f"msg_{key}_{index}", said) for index, said in enumerate(own))


def _item(identity: str, said: Message) -> Item:
    if said.role == "assistant":
        return OutputMessage(id=identity, content=(OutputText(text=said.content),))
    # What a tool returned is not the person's word: sent back as one, it would be written into the memory.
    role = "system" if said.role == "system" else "developer" if said.role == TOOL_ROLE else "user"
    return InputMessage(id=identity, role=role, content=(InputText(text=said.content),))


def logprobs_in(delta: Delta) -> list[dict[str, Any]]:
    """Render the log probabilities of tokens, if they were asked for."""
    rows = logprobs_of(delta.logprobs, is_chat=True)
    return [] if rows is None else rows["content"]


def problem_of(error: PopulaceError | None) -> ResponseProblem:
    """Say why a response failed; None is an error that is for the log alone."""
    status = 500 if error is None else status_of(type(error))
    message = (
        "Populace failed unexpectedly. The log has the details; please report it."
        if error is None
        else str(error)
    )
    shown = error_body(message, status=status, code=PopulaceError.code if error is None else error.code)
    code = {400: "invalid_prompt", 429: "rate_limit_exceeded"}.get(status, "server_error")
    return ResponseProblem.model_validate(
        {"code": code, "message": shown["error"]["message"], "type": shown["error"]["code"]}
    )


class EventWriter:
    """Writes the events of one response, in order and numbered."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._number = 0
        self._place = {"item_id": draft.item_id, "output_index": 0, "content_index": 0}

    def begin(self) -> list[bytes]:
        """Write what comes before the first token."""
        begun = self._draft.begun().model_dump()
        empty = OutputMessage(id=self._draft.item_id, status="in_progress", content=())
        part = OutputText(text="").model_dump(exclude_none=True)
        return [
            self.event("response.created", response=begun),
            self.event("response.in_progress", response=begun),
            self.event("response.output_item.added", output_index=0, item=empty.model_dump()),
            self.event("response.content_part.added", **self._place, part=part),
        ]

    def token(self, delta: Delta) -> bytes:
        """Write the tokens that one engine step added."""
        told = logprobs_in(delta)
        return self.event("response.output_text.delta", **self._place, delta=delta.text, logprobs=told)

    def end(self, reply: Delta, response: ResponseObject) -> list[bytes]:
        """Write what comes after the last token: the whole ``reply``, and the response with it."""
        item = self._draft.message(reply).model_dump()
        (part,) = item["content"]
        told = logprobs_in(reply)
        return [
            self.event("response.output_text.done", **self._place, text=reply.text, logprobs=told),
            self.event("response.content_part.done", **self._place, part=part),
            self.event("response.output_item.done", output_index=0, item=item),
            self.event(f"response.{response.status}", response=response.model_dump()),
        ]

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

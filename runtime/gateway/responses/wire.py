"""Responses on the wire, and the ids that say which turn a response is."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from populace.actors.engine import Delta
from populace.actors.tool_calls import call_id, calls_in
from populace.actors.turn import Interaction
from populace.api.objects import seconds
from populace.api.responses import (
    FunctionCall,
    IncompleteDetails,
    Item,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseNote,
    ResponseObject,
    ResponseProblem,
    ResponseUsage,
)
from populace.gateway.completions.call_reader import CallPart, CallReader
from populace.gateway.completions.wire import Provenance, logprobs_of
from populace.gateway.http.errors import error_body, status_of
from populace.gateway.responses.items import shown_items
from populace.policies.history import CONVERSATION_PREFIX
from populace.policies.ingestion import was_added
from populace.storage.records.errors import PopulaceError

RESPONSE_PREFIX = "resp_"
CHECK_LENGTH = 16
PLACE = r"([0-9a-f]{1,16})_([0-9a-f]{16})"
"""How each id of a turn ends, after the name of its model: its position and its check."""

_ID = re.compile(rf"([a-z0-9][a-z0-9_-]{{0,63}})_{PLACE}")
POSITION_MAX = 2**63


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


Calling = Literal["none", "made", "chosen"]
"""What a reply is: a text, calls that it had to make, or what a model made that may call."""


NOTHING = Delta("", (), 0)


class Draft(NamedTuple):
    """A response that is being made. ``key`` identifies it; ``told`` repeats its request.

    Its calls are named by the completion id ``completion``.
    """

    key: str
    created: int
    told: Mapping[str, Any]
    stored: bool
    completion: str
    calling: Calling
    warnings: tuple[dict[str, str], ...] = ()

    @classmethod
    def of_turn(
        cls, turn: Interaction, told: Mapping[str, Any], warnings: tuple[dict[str, str], ...] = ()
    ) -> "Draft":
        # What a chat's reply was asked to be is not kept: what it wrote like a call was one.
        calling = calling_in(told) if turn.note else "chosen"
        return cls(
            key=str(TurnKey.of_turn(turn)),
            created=seconds(turn.created_ms),
            told=told,
            stored=True,
            completion=turn.completion_id,
            calling=calling,
            warnings=warnings,
        )

    def begun(self) -> ResponseObject:
        return self._object(status="in_progress")

    def ended(self, reply: Delta, tokens: int, provenance: Provenance) -> ResponseObject:
        """Return the response with its reply, of as many ``tokens``."""
        output, has_called = self.output(reply)
        is_whole = has_called or reply.finish_reason != "length"
        return self._object(
            status="completed" if is_whole else "incomplete",
            incomplete_details=None if is_whole else IncompleteDetails(),
            output=output,
            usage=ResponseUsage(
                input_tokens=reply.prompt_tokens,
                output_tokens=tokens,
                total_tokens=reply.prompt_tokens + tokens,
            ),
            populace=provenance._asdict(),
        )

    def failed(self, problem: ResponseProblem) -> ResponseObject:
        return self._object(status="failed", error=problem)

    def output(self, reply: Delta) -> tuple[tuple[OutputItem, ...], bool]:
        """Return the reply as items, and whether it called tools and was not cut off in a call."""
        if self.calling == "made":
            reader = CallReader()
            parts = reader.read(reply.text)
            return tuple(self.call(part) for part in parts), reader.is_complete
        content, calls = calls_in(reply.text) if self.calling == "chosen" else (reply.text, ())
        parts = [CallPart(number, call.name, call.arguments, ends=True) for number, call in enumerate(calls)]
        said = [self.message(replace(reply, text=content))] if content or not calls else []
        return (*said, *(self.call(part) for part in parts)), bool(calls)

    def call(self, part: CallPart) -> FunctionCall:
        """Return a call as an item, as far as it was made; the part has its name."""
        assert part.name is not None
        return FunctionCall(
            id=f"fc_{self.key}_out_{part.call}",
            call_id=call_id(self.completion, 0, part.call),
            name=part.name,
            arguments=part.arguments,
            status="completed" if part.ends else "incomplete",
        )

    def message(self, reply: Delta = NOTHING) -> OutputMessage:
        """Return the words of a reply as an item."""
        return OutputMessage(
            id=f"msg_{self.key}_out",
            status="incomplete" if reply.finish_reason == "length" else "completed",
            content=(OutputText(text=reply.text, logprobs=tuple(logprobs_in(reply)) or None),),
        )

    def _object(self, **fields: Any) -> ResponseObject:
        own = {"id": f"{RESPONSE_PREFIX}{self.key}", "created_at": self.created, "store": self.stored}
        return ResponseObject.model_validate({**self.told, **own, "warnings": self.warnings, **fields})


def calling_in(told: Mapping[str, Any]) -> Calling:
    """Return what the reply to a request was asked to be, by the fields that repeat the request."""
    choice = told.get("tool_choice", "auto")
    if not told.get("tools") or choice == "none":
        return "none"
    return "chosen" if choice == "auto" else "made"


def told_of(turn: Interaction) -> dict[str, Any]:
    """Return the fields of a turn's response that repeat its request; those of a chat are not kept.

    They name the model as it is called now: its log may come from a model of another name.
    """
    note = _note_of(turn)
    told: dict[str, Any] = {"model": turn.model.name} if note is None else note.told
    _, at, alias = told["model"].partition("@")
    told["model"] = f"{turn.model.name}{at}{alias}"
    if followed := told.get("previous_response_id"):
        told["previous_response_id"] = _of_model(turn, followed, RESPONSE_PREFIX)
    if conversation := told.get("conversation"):
        told["conversation"] = {"id": _of_model(turn, conversation["id"], CONVERSATION_PREFIX)}
    if turn.instructions:
        # Where tools were told as well, the note has what was given.
        told.setdefault("instructions", turn.messages[0].content)
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
    return shown_items(str(TurnKey.of_turn(turn)), own, () if note is None else note.call_ids)


def items_of(turn: Interaction) -> tuple[Item, ...]:
    """Return the input of a turn and its reply, if it has one, as items, or those that it added by hand."""
    if turn.answer is None or was_added(turn.messages):
        return input_of(turn)
    return (*input_of(turn), *Draft.of_turn(turn, told_of(turn)).output(reply_of(turn))[0])


def reply_of(turn: Interaction, generated: Delta | None = None) -> Delta:
    """Return the reply as the log has it, with what else its generation told, if it was just made."""
    told = Delta("", (), turn.prompt_tokens) if generated is None or turn.replayed else generated
    return replace(told, text=turn.reply, prompt_tokens=turn.prompt_tokens, finish_reason=turn.finish_reason)


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

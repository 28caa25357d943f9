"""The objects of ``/v1/responses`` and ``/v1/conversations``, and the items in them, as OpenAI's."""

from typing import Any, Literal

from pydantic import PositiveInt, RootModel

from populace.api.completions import MADE_WITH, ProvenanceObject, TokenLogprobObject, WarningObject
from populace.api.objects import ApiObject, example

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class InputText(ApiObject):
    """What was said to the model."""

    type: Literal["input_text"] = "input_text"
    text: str


class OutputText(ApiObject):
    """What the model said. ``logprobs`` is null in a response that did not ask for them."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] | None = None


class InputMessage(ApiObject):
    """A message to the model."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer"]
    status: Literal["completed"] = "completed"
    content: tuple[InputText, ...]


class OutputMessage(ApiObject):
    """A message of the model's, also one that its client sent along."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    content: tuple[OutputText, ...]


class FunctionCall(ApiObject):
    """A call of a function of the caller's; its result has the same ``call_id``."""

    id: str
    type: Literal["function_call"] = "function_call"
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"] = "completed"


class FunctionCallOutput(ApiObject):
    """What a function of the caller's returned."""

    id: str
    type: Literal["function_call_output"] = "function_call_output"
    call_id: str
    output: str
    status: Literal["completed"] = "completed"


OutputItem = OutputMessage | FunctionCall
Item = InputMessage | OutputItem | FunctionCallOutput


class ItemObject(RootModel[Item]):
    """One item."""


class ItemList(ApiObject):
    """A part of a list of items. The ids are empty if it has none."""

    object: Literal["list"] = "list"
    data: tuple[Item, ...]
    first_id: str
    last_id: str
    has_more: bool

    @classmethod
    def of(cls, items: tuple[Item, ...], *, has_more: bool) -> "ItemList":
        return cls(
            data=items,
            first_id=items[0].id if items else "",
            last_id=items[-1].id if items else "",
            has_more=has_more,
        )


class InputTokensDetails(ApiObject):
    """Nothing is told of caches, which must not show who asked what before."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(ApiObject):
    """No base here reasons apart from its reply."""

    reasoning_tokens: int = 0


class ResponseUsage(ApiObject):
    """The tokens that were read and made."""

    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class ResponseProblem(ApiObject):
    """Why a response failed: ``type`` is the code of ours, ``code`` the nearest of OpenAI's."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    type: str


class IncompleteDetails(ApiObject):
    """Why a reply broke off; the end of the context counts too."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ConversationReference(ApiObject):
    """The conversation of a response."""

    id: str


class ResponseObject(ApiObject):
    """A response: one turn of a personal model, or a reply that is in no log, with ``store`` false.

    ``populace`` says what it was made with, once it is made.
    """

    model_config = example(
        id="resp_ada_7_5f0d7c1a9b3e4d2f",
        object="response",
        created_at=1764288000,
        status="completed",
        model="ada",
        output=[
            {
                "id": "msg_ada_7_5f0d7c1a9b3e4d2f_out",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Your dog is called Bruno."}],
            }
        ],
        store=True,
        usage={"input_tokens": 14, "output_tokens": 7, "total_tokens": 21},
        populace=MADE_WITH,
    )

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    background: Literal[False] = False
    error: ResponseProblem | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    model: str
    output: tuple[OutputItem, ...] = ()
    conversation: ConversationReference | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = False
    reasoning: dict[str, None] = {"effort": None, "summary": None}
    store: bool
    temperature: float | None = None
    text: dict[str, Any] = {"format": {"type": "text"}}
    tool_choice: Literal["none", "auto", "required"] | dict[str, str] = "auto"
    tools: tuple[dict[str, Any], ...] = ()
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: Literal["auto", "disabled"] | None = None
    usage: ResponseUsage | None = None
    populace: ProvenanceObject | None = None
    warnings: tuple[WarningObject, ...] = ()


class ResponseEventObject(ApiObject):
    """The data of an event of a streamed response: the fields that OpenAI's event of this ``type`` has."""

    model_config = example(
        type="response.output_text.delta",
        sequence_number=4,
        item_id="msg_ada_7_5f0d7c1a9b3e4d2f_out",
        output_index=0,
        content_index=0,
        delta="Your dog",
        logprobs=[],
    )

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "error",
    ]
    sequence_number: int
    response: ResponseObject | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    item: OutputItem | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    logprobs: tuple[TokenLogprobObject, ...] | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


class ResponseNote(ApiObject):
    """What the log keeps of a response beside its turn: the fields of ``ResponseObject`` that a caller gave.

    Its input is the last ``items`` messages of the turn; the others led to it, or are its instructions. The
    ``call_ids`` are those of its calls and results, in their order. ``instructions`` are in it if tools were
    told in the same message. Items that were added by hand have a note of the first three fields.
    """

    items: PositiveInt
    call_ids: tuple[str, ...] = ()
    model: str
    instructions: str | None = None
    conversation: ConversationReference | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] = {}
    temperature: float | None = None
    text: dict[str, Any] = {}
    tool_choice: Literal["none", "auto", "required"] | dict[str, str] = "auto"
    tools: tuple[dict[str, Any], ...] = ()
    parallel_tool_calls: bool = False
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """The fields of the response."""
        return self.model_dump(exclude={"items", "call_ids"}, exclude_unset=True)


class DeletedResponse(ApiObject):
    """The response's turn was forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ConversationObject(ApiObject):
    """A conversation with a person's model, which its id names."""

    model_config = example(
        id="conv_ada_7_5f0d7c1a9b3e4d2f",
        object="conversation",
        created_at=1764288000,
        metadata={"topic": "travel"},
    )

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str] = {}


class ConversationRemark(ApiObject):
    """What a turn of the log says of a conversation: an earlier one, by its ``id``, or else a new one."""

    id: str | None = None
    metadata: dict[str, str] = {}
    deleted: bool = False


class DeletedConversation(ApiObject):
    """The conversation is gone; its turns stay in the log."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True

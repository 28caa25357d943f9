"""The body of ``/v1/responses``, and the chat that it asks for."""

from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from populace.actors.engine import Message, Sampling
from populace.actors.response_schema import ANY_OBJECT, schema_text
from populace.gateway.body import LIST_BRANCH, TEXT_BRANCH, Body, Branch, NonEmptyText, Text
from populace.gateway.chat_messages import ChatMessage
from populace.gateway.response_format import JsonSchemaBody
from populace.gateway.response_parameters import UnusedResponseParameters
from populace.gateway.schema import (
    LOGPROBS_MAX,
    MESSAGES_MAX,
    ChatBody,
    ContextBody,
    MemoryBody,
    TokenCount,
)

LOGPROBS = "message.output_text.logprobs"
"""What ``include`` has for log probabilities."""

Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
"""What may be included in a response. Of most there is never any, so that nothing is missing from it."""

METADATA_MAX = 16

SCHEMA_FIELD = "text.format.schema"

Metadata = Annotated[
    dict[
        Annotated[NonEmptyText, Field(max_length=64)],
        Annotated[Text, Field(max_length=512)],
    ],
    Field(max_length=METADATA_MAX),
]


def _type_of(value: object) -> str | None:
    """Return the type that an item or a part says it is of, if it says one."""
    kind = cast("dict[object, object]", value).get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


class TextPart(Body):
    """A part of a message. What a reply's part has besides is accepted, as clients send replies back."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        kind = _type_of(value)
        if kind in ("input_image", "input_file", "input_audio", "refusal"):
            raise ValueError(f"a part of the type {kind} is not read: messages are text alone")
        return value


class MessageItem(Body):
    """A message. ``id``, ``status`` and ``phase`` come with those that are sent back, and change nothing."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag(TEXT_BRANCH)] | Annotated[list[TextPart], Field(min_length=1), Tag(LIST_BRANCH)],
        Branch,
    ]
    id: Text | None = None
    status: Text | None = None
    phase: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_a_message(cls, value: object) -> object:
        kind = _type_of(value)
        if kind not in (None, "message"):
            why = "tools are not called yet" if "call" in kind else "only messages are"
            raise ValueError(f"an item of the type {kind[:80]} is not read: {why}")
        return value

    def message(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return Message("system" if self.role == "developer" else self.role, content)


class TextFormat(Body):
    type: Literal["text"]


class JsonObjectFormat(Body):
    type: Literal["json_object"]


class JsonSchemaFormat(JsonSchemaBody):
    """The fields of ``response_format.json_schema``, beside the type."""

    type: Literal["json_schema"]


class TextBody(Body):
    """``text``: the form of the reply. ``verbosity`` is a hint, as in chats."""

    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")] | None = None
    verbosity: Any | None = None


class ConversationBody(Body):
    id: NonEmptyText


class ResponseStreamOptions(Body):
    """Nothing is added to obfuscate the length of the parts of a stream."""

    include_obfuscation: bool | None = None


def _conversation_branch(value: object) -> str | None:
    if isinstance(value, str):
        return TEXT_BRANCH
    return LIST_BRANCH if isinstance(value, dict) else None


ConversationBranch = Discriminator(
    _conversation_branch,
    custom_error_type="id_or_object",
    custom_error_message="Input should be the id of a conversation, or an object with its id",
)
Input = Annotated[
    Annotated[NonEmptyText, Tag(TEXT_BRANCH)]
    | Annotated[list[MessageItem], Field(min_length=1, max_length=MESSAGES_MAX - 1), Tag(LIST_BRANCH)],
    Branch,
]


class ResponseBody(Body, UnusedResponseParameters):
    """``POST /v1/responses``. ``memory`` and ``context`` are those of chats."""

    model: Annotated[NonEmptyText, Field(max_length=512)]
    input: Input
    instructions: Text | None = None
    previous_response_id: NonEmptyText | None = None
    conversation: (
        Annotated[
            Annotated[NonEmptyText, Tag(TEXT_BRANCH)] | Annotated[ConversationBody, Tag(LIST_BRANCH)],
            ConversationBranch,
        ]
        | None
    ) = None
    max_output_tokens: TokenCount | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=LOGPROBS_MAX)] | None = None
    text: TextBody | None = None
    metadata: Metadata | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[Includable] | None = None
    store: bool | None = True
    stream: bool | None = False
    stream_options: ResponseStreamOptions | None = None
    memory: MemoryBody | None = None
    context: ContextBody | None = None

    @field_validator("conversation")
    @classmethod
    def _is_alone(
        cls, conversation: str | ConversationBody | None, info: ValidationInfo
    ) -> str | ConversationBody | None:
        if conversation is not None and info.data.get("previous_response_id") is not None:
            raise ValueError("it does not go with `previous_response_id`: give one of them")
        return conversation

    @property
    def conversation_id(self) -> str | None:
        return self.conversation.id if isinstance(self.conversation, ConversationBody) else self.conversation

    @property
    def includes_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ())

    @property
    def own(self) -> tuple[Message, ...]:
        """The messages of the input."""
        if isinstance(self.input, str):
            return (Message("user", self.input),)
        return tuple(item.message() for item in self.input)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The instructions, and the messages of the input."""
        return (*self.told, *self.own)

    @property
    def told(self) -> tuple[Message, ...]:
        """The instructions, which are for this response alone."""
        return (Message("system", self.instructions),) if self.instructions else ()

    def chat(self) -> ChatBody:
        """Return what the response asks for as a chat, which peeks and the base are asked with too."""
        return ChatBody(
            model=self.model,
            messages=[ChatMessage(role=said.role, content=said.content) for said in self.messages],  # pyright: ignore[reportArgumentType]
            stream=self.stream,
            max_completion_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=self.includes_logprobs,
            top_logprobs=self.top_logprobs if self.includes_logprobs else None,
            memory=self.memory,
            context=self.context,
            peek=True if self.store is False else None,
        )

    def response_schema(self) -> str | None:
        """Return the schema that the reply is held to. Raises ``InvalidRequest`` for one that cannot be."""
        asked = None if self.text is None else self.text.format
        if isinstance(asked, JsonSchemaFormat):
            return schema_text(asked.json_schema, SCHEMA_FIELD)
        return ANY_OBJECT if isinstance(asked, JsonObjectFormat) else None

    def told_back(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields of the response that repeat the request, but for the instructions."""
        asked: dict[str, Any] = {
            "model": self.model,
            "previous_response_id": self.previous_response_id,
            "conversation": None if self.conversation_id is None else {"id": self.conversation_id},
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_logprobs": self.top_logprobs,
            "truncation": self.truncation,
        }
        if self.text is not None and self.text.format is not None:
            asked["text"] = {"format": self.text.format.model_dump(by_alias=True, exclude_none=True)}
        return {name: value for name, value in asked.items() if value is not None}

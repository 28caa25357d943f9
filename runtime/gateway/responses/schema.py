"""The body of ``/v1/responses``, and the chat that it asks for.

Parameters that this server does not act on are accepted as hints, or refused.
The rule is that of ``gateway/parameters.py``: a hint changes nothing that the caller could miss.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from populace.actors.engine import Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import ANY_OBJECT, schema_text
from populace.actors.sent_back import SentBack
from populace.actors.tool_choice import TOOLS_MAX, ToolUse
from populace.api.objects import example
from populace.api.tool_choices import (
    TOOL_BRANCH,
    WORD_BRANCH,
    ChoiceBranch,
    FunctionObject,
    NamedFunctionObject,
    NamedToolObject,
    ToolObject,
)
from populace.gateway.completions.chat_messages import ChatMessage
from populace.gateway.completions.parameters import ANY, SAY_IT, Hint, Refused, UnusedInTalk
from populace.gateway.completions.response_format import Form, JsonSchemaBody
from populace.gateway.completions.schema import (
    LOGPROBS_MAX,
    MESSAGES_MAX,
    ChatBody,
    ObfuscationBody,
    TalkParameters,
    TokenCount,
)
from populace.gateway.http.body import LIST_BRANCH, TEXT_BRANCH, Body, Branch, NonEmptyText, Text
from populace.gateway.responses.items import MessageItem, SentItem, type_of


class UnusedResponseParameters(UnusedInTalk):
    """What responses have besides; what would be missing from one is refused by name."""

    max_tool_calls: Annotated[ANY, Hint("it bounds calls of built-in tools, and there are none")] = None
    prompt_cache_options: Annotated[ANY, Hint("caches are kept as long as there is room")] = None

    background: Annotated[
        ANY, Refused("nothing runs in the background: leave it out, or stream the response", (False,))
    ] = None
    prompt: Annotated[ANY, Refused("no prompts are stored here: send `instructions` and `input`")] = None
    context_management: Annotated[
        ANY, Refused("earlier turns that do not fit are left out, and never summarised", ([],))
    ] = None
    moderation: Annotated[ANY, Refused("nothing is moderated here")] = None
    enable_response_messages: Annotated[
        ANY, Refused("ask `/v1/chat/completions` for the prompt, with `return_prompt_text`", (False,))
    ] = None
    previous_input_messages: Annotated[ANY, Refused("send them as `input`", ([],))] = None


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


class FunctionTool(SentBack, FunctionObject):
    """A function of the caller's: the fields of a chat's ``function``, beside the type."""

    type: Literal["function"]

    @model_validator(mode="before")
    @classmethod
    def _is_a_function(cls, value: object) -> object:
        kind = type_of(value)
        if kind not in (None, "function"):
            raise ValueError(
                f"a tool of the type {kind[:80]} is not called here: functions of yours are (type function)"
            )
        return value

    def chat_tool(self) -> ToolObject:
        return ToolObject(type="function", function=FunctionObject(**self.model_dump(exclude={"type"})))


class NamedFunction(NamedFunctionObject):
    """The choice of one function."""

    type: Literal["function"]


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
    verbosity: Annotated[ANY, Hint(SAY_IT)] = None


class ConversationBody(Body):
    """A conversation by its id. The others of its fields may be there, and change nothing."""

    model_config = ConfigDict(extra="ignore")

    id: NonEmptyText


ResponseToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(WORD_BRANCH)]
    | Annotated[NamedFunction, Tag(TOOL_BRANCH)],
    ChoiceBranch,
]


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
    | Annotated[list[SentItem], Field(min_length=1, max_length=MESSAGES_MAX - 1), Tag(LIST_BRANCH)],
    Branch,
]


class ResponseBody(Body, TalkParameters, UnusedResponseParameters):
    """``POST /v1/responses``. What it shares with chats means the same there."""

    model_config = example(
        model="ada",
        input="What is my dog called?",
        instructions="Reply in one sentence.",
        max_output_tokens=32,
    )

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
    top_logprobs: Annotated[int, Field(ge=0, le=LOGPROBS_MAX)] | None = None
    text: TextBody | None = None
    metadata: Metadata | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[Includable] | None = None
    store: bool | None = True
    stream: bool | None = False
    stream_options: ObfuscationBody | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=TOOLS_MAX)] | None = None
    tool_choice: ResponseToolChoice | None = None

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
    def items(self) -> Sequence[SentItem]:
        """The items of the input."""
        return [MessageItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input

    @property
    def told(self) -> tuple[Message, ...]:
        """The instructions, which are for this response alone."""
        return (Message("system", self.instructions),) if self.instructions else ()

    def chat(self) -> ChatBody:
        """Return what the response asks for as a chat, which peeks and the base are asked with too.

        Its messages are told apart from it: what they are depends on the log.
        """
        named = self.tool_choice
        if isinstance(named, NamedFunction):
            named = NamedToolObject(type="function", function=NamedFunctionObject(name=named.name))
        return ChatBody(
            model=self.model,
            messages=[ChatMessage(role="user", content="")],
            stream=self.stream,
            max_completion_tokens=self.max_output_tokens,
            logprobs=self.includes_logprobs,
            top_logprobs=self.top_logprobs if self.includes_logprobs else None,
            peek=True if self.store is False else None,
            tools=[tool.chat_tool() for tool in self.tools or ()],
            tool_choice=named,
            **{name: getattr(self, name) for name in TalkParameters.model_fields},
        )

    def form(self, chat: ChatBody) -> Form | None:
        """Return what the reply is held to, given what ``chat`` made of this.

        Raises ``InvalidRequest`` for several schemas, and for one that cannot be.
        """
        asked = None if self.text is None else self.text.format
        of_chat = chat.form()
        if of_chat is not None:
            if asked is not None and asked.type != "text":
                raise InvalidRequest(
                    f"Give `text.format` or `{of_chat.parameter}`: each says what the reply has to be.",
                    of_chat.parameter,
                )
            return of_chat
        if isinstance(asked, JsonSchemaFormat):
            return Form(SCHEMA_FIELD, schema_text(asked.json_schema, SCHEMA_FIELD))
        return Form("text.format", ANY_OBJECT) if isinstance(asked, JsonObjectFormat) else None

    def told_back(self, sampling: Sampling, uses: ToolUse) -> dict[str, Any]:
        """Return the fields of the response that repeat the request, but for the instructions.

        The choice of tools is ``none`` where a setting says that it comes to that.
        """
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
        if self.tools:
            choice = "auto" if self.tool_choice is None else self.tool_choice
            named = choice.model_dump() if isinstance(choice, NamedFunction) else choice
            asked["tools"] = [tool.model_dump(exclude_none=True) for tool in self.tools]
            asked["tool_choice"] = named if uses.tools else "none"
            asked["parallel_tool_calls"] = uses.calls_max > 1
        return {name: value for name, value in asked.items() if value is not None}

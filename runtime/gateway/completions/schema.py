"""The bodies that the gateway accepts. Unknown parameters are refused by name, never ignored."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from populace.actors.aggregation.question import MEMBERS_MAX, Combine, Kind, Question, Select
from populace.actors.engine import Message, RepetitionDetection, Sampling, SamplingDefaults
from populace.actors.errors import InvalidRequest
from populace.actors.memory import BOTH, MemoryChoice
from populace.actors.response_schema import schema_text
from populace.actors.tool_choice import ToolUse
from populace.api.objects import example
from populace.api.text import encodable
from populace.api.tool_choices import ToolChoice, Tools, use_of
from populace.gateway.completions.chat_messages import ChatMessage
from populace.gateway.completions.parameters import (
    NOT_OBFUSCATED,
    Hint,
    UnusedChatParameters,
    UnusedParameters,
)
from populace.gateway.completions.response_format import (
    FREE_TEXT,
    SCHEMA_FIELDS,
    Form,
    ResponseFormatBody,
    StructuredOutputsBody,
)
from populace.gateway.http.body import LIST_BRANCH, TEXT_BRANCH, Body, Branch, NonEmptyText
from populace.policies.retrieval import RETRIEVED_MAX

T = TypeVar("T")

STOP_STRINGS_MAX = 16
MESSAGES_MAX = 2048
CHOICES_MAX = 16
LOGPROBS_MAX = 20
TOKENS_MAX = 2**31 - 1
"""The largest token count that a request may have; the engines hold counts in 32 bits."""

DEFAULT_QUESTION = Question(())


def _with(switch: str, value: T, info: ValidationInfo) -> T:
    """Refuse a parameter that would do nothing because ``switch`` is off."""
    if value is not None and not info.data.get(switch):
        raise ValueError(f"it needs `{switch}: true`")
    return value


TokenId = Annotated[int, Field(ge=0, le=TOKENS_MAX)]
TokenCount = Annotated[int, Field(ge=1, le=TOKENS_MAX)]


class ObfuscationBody(Body):
    include_obfuscation: Annotated[bool | None, Hint(NOT_OBFUSCATED, (False,))] = None


class StreamOptions(ObfuscationBody):
    """``continuous_usage_stats`` puts the usage so far into each chunk, as vLLM's."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False

    @field_validator("continuous_usage_stats")
    @classmethod
    def _needs_usage(cls, switch: bool | None, info: ValidationInfo) -> bool | None:
        return _with("include_usage", switch or None, info)


class MemoryBody(Body):
    """Whether the reply may come from the model's memory, and whether this turn is written into it."""

    read: bool = True
    write: bool = True


class RepetitionBody(Body):
    """Ends a reply whose last tokens are one pattern ``min_count`` times in a row, as vLLM's."""

    max_pattern_size: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0
    min_pattern_size: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0
    min_count: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0

    def value(self) -> RepetitionDetection | None:
        """Return what the engines look for; None if it is switched off, by patterns of no tokens."""
        if not self.max_pattern_size:
            return None
        return RepetitionDetection(self.max_pattern_size, self.min_count, max(1, self.min_pattern_size))


class ContextBody(Body):
    """How many turns of the model's own log are put into the prompt; those that fit it best are chosen.

    With ``corrections`` the reply keeps to the person's correction, if one applies to the last message. With
    ``told`` a question is answered with what one earlier turn tells, if no turns are to be retrieved.
    """

    retrieve: Annotated[int, Field(ge=0, le=RETRIEVED_MAX)] = 0
    corrections: bool = True
    told: bool = True


class PopulationBody(Body):
    """How the population is asked: see ``actors/aggregation/question.py``.

    ``kind`` null is choice with ``choices``, else text. ``models`` names the members, instead of ``k``.
    """

    k: int = DEFAULT_QUESTION.k
    kind: Kind | None = None
    choices: list[NonEmptyText] = []
    select: Select = DEFAULT_QUESTION.select
    combine: Combine = DEFAULT_QUESTION.combine
    models: Annotated[list[NonEmptyText], Field(min_length=1, max_length=MEMBERS_MAX)] | None = None
    seconds_max: float = DEFAULT_QUESTION.seconds_max

    def to_question(
        self, messages: Sequence[Message], *, tokens: int, temperature: float, seed: int
    ) -> Question:
        return Question(
            tuple(messages),
            k=self.k if self.models is None else len(self.models),
            kind=self.kind or ("choice" if self.choices else "text"),
            choices=tuple(self.choices),
            select=self.select,
            combine=self.combine,
            reply_tokens=tokens,
            temperature=temperature,
            seconds_max=self.seconds_max,
            seed=seed,
        )


class ReplyParameters(BaseModel):
    """How a reply is chosen, and what it does to the model: of chats, texts and responses."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=TOKENS_MAX)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    own_words_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    """Like ``repetition_penalty``, for the words of the chat's earlier replies and of the reply."""
    logit_bias: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], float] | None = None
    allowed_token_ids: list[TokenId] | None = None
    bad_words: list[NonEmptyText] | None = None
    stop_token_ids: list[TokenId] | None = None
    include_stop_str_in_output: bool | None = False
    skip_special_tokens: bool | None = True
    min_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)] | None = 0
    repetition_detection: RepetitionBody | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: (
        Annotated[
            Annotated[NonEmptyText, Tag(TEXT_BRANCH)]
            | Annotated[list[NonEmptyText], Field(max_length=STOP_STRINGS_MAX), Tag(LIST_BRANCH)],
            Branch,
        ]
        | None
    ) = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    ignore_eos: bool | None = False
    guided_json: dict[str, Any] | None = None
    structured_outputs: StructuredOutputsBody | None = None
    """vLLM's two names for what the reply is held to, beside that of the route; at most one is given."""
    memory: MemoryBody | None = None
    turn_seconds_max: Annotated[float, Field(gt=0)] | None = None
    """How long the reply may take, in seconds; never longer than the server's own setting."""


class TalkParameters(ReplyParameters):
    """What chats and responses have besides."""

    chat_template_kwargs: dict[str, Any] | None = None
    context: ContextBody | None = None
    parallel_tool_calls: bool | None = None


class SamplingBody(Body, ReplyParameters, UnusedParameters):
    """The parameters that chat and text completions share."""

    model: Annotated[str, Field(min_length=1, max_length=512), AfterValidator(encodable)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=LOGPROBS_MAX)] | None = None
    return_token_ids: bool | None = False
    return_tokens_as_token_ids: bool | None = False
    n: Annotated[int, Field(ge=1, le=CHOICES_MAX)] | None = 1
    keep: Annotated[int, Field(ge=0)] | None = None
    response_format: ResponseFormatBody | None = None
    peek: bool | None = None
    """True leaves no trace in the model; False is a turn, whatever the messages look like."""

    @field_validator("stream_options")
    @classmethod
    def _needs_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        return _with("stream", options, info)

    @field_validator("prompt_logprobs")
    @classmethod
    def _needs_a_whole_reply(cls, count: int | None, info: ValidationInfo) -> int | None:
        if count is not None and info.data.get("stream"):
            raise ValueError("a stream has none: leave out `stream`")
        return count

    @field_validator("keep")
    @classmethod
    def _is_a_choice(cls, keep: int | None, info: ValidationInfo) -> int | None:
        if keep is not None and keep >= (info.data.get("n") or 1):
            raise ValueError("it must be less than `n`: it is the index of the choice to keep")
        return keep

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def kept(self) -> int | None:
        """The index of the choice that is recorded: the only one, or of several the one named, else none."""
        return 0 if self.choices == 1 else self.keep

    def seconds_max(self, most: float) -> float:
        """Return how long the reply may take, ``most`` seconds at the longest."""
        return most if self.turn_seconds_max is None else min(most, self.turn_seconds_max)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def memory_choice(self) -> MemoryChoice:
        return BOTH if self.memory is None else MemoryChoice(self.memory.read, self.memory.write)

    @property
    def retrieved(self) -> int:
        """How many turns of the log are put into the prompt; a raw prompt gets none."""
        return 0

    @property
    def corrections(self) -> bool:
        """Whether the reply keeps to the correction that applies; a raw prompt asks nothing."""
        return False

    @property
    def told(self) -> bool:
        """Whether a question is answered with what an earlier turn tells; a raw prompt asks nothing."""
        return False

    @property
    def history_of(self) -> str | None:
        """The conversation in the log whose turns precede the messages; a raw prompt has none."""
        return None

    @property
    def instructed(self) -> int:
        """How many messages, the first, are for this turn alone."""
        return 0

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def counts_tokens(self) -> bool:
        """Whether each chunk of the stream has the usage so far."""
        return self.stream_options is not None and bool(self.stream_options.continuous_usage_stats)

    @property
    def template_variables(self) -> dict[str, Any]:
        """Further variables of the chat template; a raw prompt has no template."""
        return {}

    def form(self) -> Form | None:
        """Return what the reply is held to. Raises ``InvalidRequest`` for several of them."""
        given = [name for name in SCHEMA_FIELDS if getattr(self, name) not in (None, FREE_TEXT)]
        if len(given) > 1:
            raise InvalidRequest(
                f"Give one of {' and '.join(given)}: each says what the reply has to be.", given[-1]
            )
        if self.guided_json is not None:
            return Form("guided_json", schema_text(self.guided_json, "guided_json"))
        given_form = self.structured_outputs or self.response_format
        return None if given_form is None else given_form.form()

    def sampling(
        self,
        base: SamplingDefaults,
        *,
        max_tokens: int | None,
        logprobs: int | None,
        returns_prompt: bool = False,
    ) -> Sampling:
        """Build the sampling parameters but for the form; an explicit null is the default, as at OpenAI."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=base.temperature if self.temperature is None else self.temperature,
            top_p=base.top_p if self.top_p is None else self.top_p,
            top_k=base.top_k if self.top_k is None else max(0, self.top_k),
            seed=self.seed,
            stop=self.stop_strings,
            logprobs=logprobs,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            ignore_eos=bool(self.ignore_eos),
            repetition_penalty=(
                base.repetition_penalty if self.repetition_penalty is None else self.repetition_penalty
            ),
            own_words_penalty=base.own_words(self.own_words_penalty, self.repetition_penalty),
            min_p=base.min_p if self.min_p is None else self.min_p,
            logit_bias=tuple((int(token_id), bias) for token_id, bias in (self.logit_bias or {}).items()),
            allowed_token_ids=tuple(self.allowed_token_ids or ()),
            bad_words=tuple(self.bad_words or ()),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            min_tokens=self.min_tokens or 0,
            include_stop=bool(self.include_stop_str_in_output),
            skip_special_tokens=self.skip_special_tokens is not False,
            prompt_logprobs=self.prompt_logprobs,
            returns_prompt=returns_prompt or bool(self.return_token_ids),
            repetition_detection=repeated.value() if (repeated := self.repetition_detection) else None,
        )


class ChatBody(SamplingBody, TalkParameters, UnusedChatParameters):
    """``POST /v1/chat/completions``."""

    model_config = example(
        model="ada", messages=[{"role": "user", "content": "What is my dog called?"}], max_tokens=32
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)]
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=LOGPROBS_MAX)] | None = None
    return_prompt_text: bool | None = False
    conversation: NonEmptyText | None = None
    """Name of the conversation in the model's own log that the messages continue."""
    instructions_first: Annotated[int, Field(ge=0, le=MESSAGES_MAX)] = 0
    """How many system messages at the beginning are for this turn alone: no later turn reads them."""
    population: PopulationBody | None = None
    tools: Annotated[Tools | None, AfterValidator(lambda tools: tools or None)] = None
    tool_choice: ToolChoice | None = None

    @property
    def retrieved(self) -> int:
        return 0 if self.context is None else self.context.retrieve

    @property
    def corrections(self) -> bool:
        return self.context is None or self.context.corrections

    @property
    def told(self) -> bool:
        return self.context is None or self.context.told

    @property
    def history_of(self) -> str | None:
        return self.conversation

    @property
    def instructed(self) -> int:
        return self.instructions_first

    @property
    def template_variables(self) -> dict[str, Any]:
        return self.chat_template_kwargs or {}

    @field_validator("top_logprobs")
    @classmethod
    def _needs_logprobs(cls, count: int | None, info: ValidationInfo) -> int | None:
        return _with("logprobs", count, info)

    def tool_use(self, auto: str) -> ToolUse:
        """Return the tools that the reply has to call; see ``actors/tool_choice.py``."""
        return use_of(self.tools, self.tool_choice, parallel=self.parallel_tool_calls, auto=auto)

    def to_sampling(self, base: SamplingDefaults) -> Sampling:
        sampling = self.sampling(
            base,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            returns_prompt=bool(self.return_prompt_text),
        )
        if self.repetition_detection is None and not self.ignore_eos:
            return replace(sampling, ends_degenerate=base.ends_degenerate)
        return sampling

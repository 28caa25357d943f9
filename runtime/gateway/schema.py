"""The bodies that the gateway accepts. Unknown parameters are refused by name, never ignored."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
)

from populace.actors.aggregation.question import MEMBERS_MAX, Combine, Kind, Question, Select
from populace.actors.engine import Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.forgetting import TURNS_MAX, MemoryAfter
from populace.actors.memory import BOTH, MemoryChoice
from populace.actors.response_schema import schema_text
from populace.actors.training_options import OPTIONS, Option
from populace.gateway.body import (
    LIST_BRANCH,
    TEXT_BRANCH,
    Body,
    Branch,
    NonEmptyText,
    OptionalName,
    Text,
    encodable,
)
from populace.gateway.chat_messages import ChatMessage
from populace.gateway.response_format import SCHEMA_FIELDS, ResponseFormatBody, StructuredOutputsBody
from populace.policies.diversity.disclosure import Sharing
from populace.policies.retrieval import RETRIEVED_MAX

T = TypeVar("T")

STOP_STRINGS_MAX = 16
MESSAGES_MAX = 2048
CHOICES_MAX = 16
TOKENS_MAX = 2**31 - 1
"""The largest token count that a request may have; the engines hold counts in 32 bits."""

DEFAULT_QUESTION = Question(())


def _with(switch: str, value: T, info: ValidationInfo) -> T:
    """Refuse a parameter that would do nothing because ``switch`` is off."""
    if value is not None and not info.data.get(switch):
        raise ValueError(f"it needs `{switch}: true`")
    return value


TurnPosition = Annotated[int, Field(ge=0, lt=2**63)]
TokenCount = Annotated[int, Field(ge=1, le=TOKENS_MAX)]


class StreamOptions(Body):
    include_usage: bool = False


class MemoryBody(Body):
    """Whether the reply may come from the model's memory, and whether this turn is written into it."""

    read: bool = True
    write: bool = True


class ContextBody(Body):
    """How many turns of the model's own log are put into the prompt; those that fit it best are chosen."""

    retrieve: Annotated[int, Field(ge=0, le=RETRIEVED_MAX)] = 0


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


class SamplingBody(Body):
    """The parameters that chat and text completions share."""

    model: Annotated[str, Field(min_length=1, max_length=512), AfterValidator(encodable)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(ge=0, le=TOKENS_MAX)] | None = 0
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
    ignore_eos: bool = False
    n: Annotated[int, Field(ge=1, le=CHOICES_MAX)] | None = 1
    keep: Annotated[int, Field(ge=0)] | None = None
    user: Text | None = None
    metadata: dict[str, Any] | None = None
    memory: MemoryBody | None = None

    @field_validator("stream_options")
    @classmethod
    def _needs_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        return _with("stream", options, info)

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
    def history_of(self) -> str | None:
        """The conversation in the log whose turns precede the messages; a raw prompt has none."""
        return None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(
        self, *, max_tokens: int | None, logprobs: int | None, response_schema: str | None = None
    ) -> Sampling:
        """Build the sampling parameters; an explicit null means the default, as in OpenAI's API."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            seed=self.seed,
            stop=self.stop_strings,
            logprobs=logprobs,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            ignore_eos=self.ignore_eos,
            response_schema=response_schema,
        )


class ChatBody(SamplingBody):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)]
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    context: ContextBody | None = None
    conversation: NonEmptyText | None = None
    """Name of the conversation in the model's own log that the messages continue."""
    population: PopulationBody | None = None
    response_format: ResponseFormatBody | None = None
    guided_json: dict[str, Any] | None = None
    structured_outputs: StructuredOutputsBody | None = None
    """vLLM's two names for a schema; of the three at most one may be given."""

    @property
    def retrieved(self) -> int:
        return 0 if self.context is None else self.context.retrieve

    @property
    def history_of(self) -> str | None:
        return self.conversation

    @field_validator("top_logprobs")
    @classmethod
    def _needs_logprobs(cls, count: int | None, info: ValidationInfo) -> int | None:
        return _with("logprobs", count, info)

    def to_sampling(self) -> Sampling:
        return self.sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            response_schema=self._response_schema(),
        )

    def _response_schema(self) -> str | None:
        given = [name for name in SCHEMA_FIELDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidRequest(f"Give one of {' and '.join(given)}: both name a schema.", given[-1])
        if self.guided_json is not None:
            return schema_text(self.guided_json, "guided_json")
        schema = self.response_format or self.structured_outputs
        return None if schema is None else schema.schema_text()


class CompletionBody(SamplingBody):
    """``POST /v1/completions``: the prompt is read as it is, without the chat template."""

    prompt: NonEmptyText
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] | None = False

    def to_sampling(self) -> Sampling:
        # OpenAI's own default for this route is 16 tokens.
        return self.sampling(max_tokens=self.max_tokens or 16, logprobs=self.logprobs)


class FeedbackBody(Body):
    """``POST /v1/feedback``."""

    model: NonEmptyText
    completion_id: NonEmptyText | None = None
    position: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    thumb: Literal["up", "down"] | None = None
    rating: float | None = None
    correction: Text | None = None
    reward: float | None = None


def _training_field(name: str, option: Option) -> tuple[Any, Any]:
    # `TrainingOptions.check` says more of wrong targets than that they are empty.
    is_name = option.type == (str | None) and name != "targets"
    return (OptionalName if is_name else option.type), Field(option.default, description=option.description)


_fields: dict[str, Any] = {name: _training_field(name, option) for name, option in OPTIONS.items()}


class TrainingBody(create_model("TrainingBody", __base__=Body, **_fields)):
    """``POST /v1/personal-models/{name}/jobs``: the fields of ``TrainingOptions``, with its defaults.

    ``tasks`` are for the method rl; ``actors/reward_tasks.py`` describes them.
    """

    tasks: list[dict[str, Any]] = []


class SharingBody(Body):
    """``PUT /v1/personal-models/{name}/sharing``; null ends the model's membership."""

    sharing: Sharing | None


class AskBody(PopulationBody):
    """``POST /v1/population/answers``."""

    question: NonEmptyText | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)] | None = None
    reply_tokens: int = DEFAULT_QUESTION.reply_tokens
    temperature: float = DEFAULT_QUESTION.temperature
    seed: int = DEFAULT_QUESTION.seed
    stream: bool = False


class MergeBody(Body):
    """``POST /v1/population/merge``; ``weights`` are by member, null is the mean. See ``MergeOptions``."""

    models: Annotated[list[NonEmptyText], Field(min_length=1, max_length=MEMBERS_MAX)]
    into: Text
    weights: dict[str, float] | None = None
    method: Literal["sum", "svd", "ties", "dare", "linear"] = "sum"
    rank: Annotated[int, Field(ge=1)] | None = None
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class RollbackBody(Body):
    """``POST /v1/personal-models/{name}/rollback``; the default is the revision that ``latest`` names."""

    revision: NonEmptyText | None = None


class AliasBody(Body):
    """``PUT /v1/personal-models/{name}/aliases/{alias}``: a digest, its beginning, or another alias."""

    revision: NonEmptyText


class RestoreMemoryBody(Body):
    """``POST /v1/personal-models/{name}/memory``; ``position`` null empties the memory."""

    position: Annotated[int, Field(ge=0, lt=2**63)] | None


class ForgetBody(Body):
    """``POST /v1/personal-models/{name}/forget``: turns by position, or words that find them.

    Turns that words find are forgotten only with ``confirm``.
    """

    position: TurnPosition | None = None
    positions: Annotated[list[TurnPosition], Field(min_length=1, max_length=TURNS_MAX)] | None = None
    query: NonEmptyText | None = None
    confirm: bool = False
    memory: MemoryAfter = "folded"


class NewModelBody(Body):
    """``POST /v1/personal-models``."""

    name: Text

"""The objects of ``/v1/chat/completions``, ``/v1/completions`` and ``/v1/embeddings``, as OpenAI's.

They say what ``gateway/completions`` writes, field by field, because a stream has no time to make objects of
its tokens. A field with a default is left out of a reply that does not have it. What OpenAI's have not:
``populace`` and ``warnings``, and vLLM's names for what was asked for of the prompt and the tokens.
"""

from typing import Literal

from pydantic import JsonValue

from populace.api.objects import ApiObject, Listing, example
from populace.api.population import AnswerObject
from populace.api.tool_choices import ToolCallObject
from populace.api.turns import MemoryTraceObject
from populace.policies.degeneration import Degeneration

Ended = Literal["stop", "length"]

MADE_WITH: dict[str, JsonValue] = {
    "revision": "base",
    "base": "9b1d2f3a4c5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8",
    "log_position": 7,
    "memory_version": 7,
    "operation": "auto-0d5c1f",
    "replayed": False,
    "retrieved": [],
    "memory": {"read": True, "written_from": 0},
    "conversation": None,
    "peek": None,
    "degenerate": None,
}
HEAD: dict[str, JsonValue] = {
    "id": "chatcmpl-5f0d7c1a9b3e4d2f8a6c0b1e2d3f4a5b",
    "created": 1764288000,
    "model": "ada",
}
USAGE: dict[str, JsonValue] = {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21}
ENDED: dict[str, JsonValue] = {"index": 0, "finish_reason": "stop", "logprobs": None}
SAID = "Your dog is called Bruno."


class WarningObject(ApiObject):
    """A parameter that changed nothing, or of which not all was read."""

    param: str
    message: str


class ProvenanceObject(ApiObject):
    """What a reply was made with. ``log_position`` null means that it is in no log.

    ``retrieved`` has the positions of the turns that the reply was told from; null if nothing of it is kept
    and it is no peek. ``peek`` says why the reply leaves no trace, if it is a peek. ``degenerate`` says what
    a reply had become that was ended for it, by a finish reason of ``stop``.
    """

    revision: str
    base: str
    log_position: int | None
    memory_version: int | None
    operation: str | None
    replayed: bool
    retrieved: tuple[int, ...] | None
    memory: MemoryTraceObject | None
    conversation: str | None
    peek: str | None
    degenerate: Degeneration | None


class UsageObject(ApiObject):
    """The tokens that were read and made. Those of a prompt count once for all replies to it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class LogprobObject(ApiObject):
    """A token, the natural logarithm of its probability, and its bytes in UTF-8."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprobObject(LogprobObject):
    """A token of a reply and its likeliest alternatives."""

    top_logprobs: tuple[LogprobObject, ...]


class ChatLogprobsObject(ApiObject):
    """The log probabilities of a chat's reply."""

    content: tuple[TokenLogprobObject, ...]
    refusal: None


class TextLogprobsObject(ApiObject):
    """The log probabilities of a text; the first token of an echoed prompt has none."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float] | None, ...]
    text_offset: tuple[int, ...]


class RankedTokenObject(ApiObject):
    """A token of a prompt or an alternative to it; ``rank`` is null beyond those that were asked for."""

    logprob: float
    rank: int | None
    decoded_token: str


class PromptObject(ApiObject):
    """What was asked for of the prompt. ``prompt_logprobs`` are by token id; the first token has none."""

    prompt_token_ids: tuple[int, ...] | None = None
    prompt_logprobs: tuple[dict[str, RankedTokenObject] | None, ...] | None = None


class AssistantMessage(ApiObject):
    """A reply. ``content`` is null in one that only calls tools, and in a population's refusal."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: tuple[ToolCallObject, ...] | None = None


class ChatChoice(ApiObject):
    """One reply to a chat."""

    index: int
    message: AssistantMessage
    finish_reason: Ended | Literal["tool_calls"]
    logprobs: ChatLogprobsObject | None
    token_ids: tuple[int, ...] | None = None


class CompletionPart(ApiObject):
    """What a whole completion and each event of a stream have in common."""

    id: str
    created: int
    model: str
    warnings: tuple[WarningObject, ...] = ()


class ChatCompletionObject(CompletionPart, PromptObject):
    """A reply to a chat. ``populace`` has the votes if the population replied."""

    model_config = example(
        **HEAD,
        object="chat.completion",
        choices=[{**ENDED, "message": {"role": "assistant", "content": SAID, "refusal": None}}],
        usage=USAGE,
        populace=MADE_WITH,
    )

    object: Literal["chat.completion"]
    choices: tuple[ChatChoice, ...]
    usage: UsageObject
    populace: ProvenanceObject | AnswerObject
    prompt_text: str | None = None


class CalledPart(ApiObject):
    """A part of a call's arguments; the first one has the name."""

    name: str | None = None
    arguments: str


class CallPartObject(ApiObject):
    """A part of the call with this number; the first one has its id."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledPart


class ChatDelta(ApiObject):
    """What an event adds to a reply."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[CallPartObject, ...] | None = None


class ChatChunkChoice(ApiObject):
    """A part of one reply to a chat; its last one has a finish reason."""

    index: int
    delta: ChatDelta
    finish_reason: Ended | Literal["tool_calls"] | None
    logprobs: ChatLogprobsObject | None
    token_ids: tuple[int, ...] | None = None


class ChatChunkObject(CompletionPart, PromptObject):
    """The data of an event of a streamed chat.

    The last one of each reply has ``populace``, as each one of a population's. One without choices has the
    usage, if it was asked for.
    """

    model_config = example(
        **HEAD,
        object="chat.completion.chunk",
        choices=[{**ENDED, "delta": {"role": "assistant", "content": SAID}}],
        populace=MADE_WITH,
    )

    object: Literal["chat.completion.chunk"]
    choices: tuple[ChatChunkChoice, ...]
    usage: UsageObject | None = None
    populace: ProvenanceObject | AnswerObject | None = None
    prompt_text: str | None = None


class Continuation(PromptObject):
    """What continues a text, or a part of it."""

    index: int
    text: str
    logprobs: TextLogprobsObject | None
    token_ids: tuple[int, ...] | None = None


class TextChoice(Continuation):
    """One whole continuation of a text."""

    finish_reason: Ended


class TextChunkChoice(Continuation):
    """A part of one continuation of a text; its last one has a finish reason."""

    finish_reason: Ended | None


class TextCompletionObject(CompletionPart):
    """What continues a text."""

    model_config = example(
        **HEAD,
        object="text_completion",
        choices=[{**ENDED, "text": " Paris."}],
        usage=USAGE,
        populace=MADE_WITH,
    )

    object: Literal["text_completion"]
    choices: tuple[TextChoice, ...]
    usage: UsageObject
    populace: ProvenanceObject


class TextChunkObject(CompletionPart):
    """The data of an event of a streamed text: see ``ChatChunkObject``."""

    model_config = example(
        **HEAD, object="text_completion", choices=[{**ENDED, "text": " Paris."}], populace=MADE_WITH
    )

    object: Literal["text_completion"]
    choices: tuple[TextChunkChoice, ...]
    usage: UsageObject | None = None
    populace: ProvenanceObject | None = None


class EmbeddingObject(ApiObject):
    """The vector of one text; in base64 it is of 32-bit floats, the least byte first."""

    object: Literal["embedding"]
    index: int
    embedding: tuple[float, ...] | str


class EmbeddingUsageObject(ApiObject):
    """The tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsObject(Listing[EmbeddingObject]):
    """The vectors of texts, in their order."""

    model_config = example(
        object="list",
        data=[{"object": "embedding", "index": 0, "embedding": [0.8, 0.6, 0.0]}],
        model="base",
        usage={"prompt_tokens": 4, "total_tokens": 4},
    )

    model: str
    usage: EmbeddingUsageObject
    warnings: tuple[WarningObject, ...] = ()

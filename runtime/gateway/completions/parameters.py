"""Parameters of OpenAI's and vLLM's servers that this one does not act on: accepted as hints, or refused.

A hint changes nothing that the caller could miss, so it is accepted, and the reply's ``warnings`` name it. A
parameter whose absence would make the reply silently wrong is refused by name, except for the value that asks
for nothing. A parameter in neither list, and in no body, is refused as unknown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from populace.actors.turns.running_reply import RunningReply


@dataclass(frozen=True)
class Hint:
    """Marks a parameter that changes nothing; ``reason`` says why, ``neutral`` values ask for no more."""

    reason: str
    neutral: tuple[object, ...] = ()

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "description": f"It changes nothing here: {self.reason}."}


@dataclass(frozen=True)
class Refused:
    """Marks a parameter that is refused; ``reason`` says why, ``neutral`` are values that ask for nothing."""

    reason: str
    neutral: tuple[object, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._neutral_only, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        del schema, handler
        return {"enum": [None, *self.neutral], "description": f"It is refused here: {self.reason}."}

    def _neutral_only(self, value: object) -> object:
        # By type too: to Python, 0 is False.
        if value is None or any(type(value) is type(one) and value == one for one in self.neutral):
            return None
        raise ValueError(self.reason)


NO_REASONING = "no base here reasons apart from its reply"
NO_IMAGES = "messages are text alone"
NOT_OBFUSCATED = "nothing is added to a stream to hide how long its parts are"
SAY_IT = "say in a message how long the reply should be"
NO_BEAMS = "replies are sampled or greedy, never searched by beams: ask for several with `n`"
NO_TRANSFER = "this engine takes over no cache from another"
OPERATORS = "that is the operator's to decide"
TOKENS_INSTEAD = "send the prompt as token ids to `/v1/completions` for full control of it"
EXPERTS = "the router's choices of experts are not recorded"
ALL_READ = "nothing is cut off: a text that does not fit the context is refused"
BASE64 = "base64 is of little-endian float32, as at OpenAI"

WHOLE = (
    "nothing is cut in the middle: of a person's chat the oldest exchanges are left out, all else is refused"
)

ANY = Any | None


class UnusedByAll(BaseModel):
    """What all that reads a prompt has in common."""

    user: Annotated[ANY, Hint("who calls is known by the API key, and who replies by `model`")] = None
    request_id: Annotated[ANY, Hint("send it as the header X-Request-Id")] = None
    cache_salt: Annotated[ANY, Hint("caches have a secret salt for each owner already")] = None

    priority: Annotated[ANY, Refused(OPERATORS, (0,))] = None


class UnusedInReplies(UnusedByAll):
    """What completions and responses have besides."""

    service_tier: Annotated[ANY, Hint("there is one tier")] = None
    prompt_cache_key: Annotated[ANY, Hint("what is cached of a prompt is found by its owner's key")] = None
    prompt_cache_retention: Annotated[ANY, Hint("caches are kept as long as there is room")] = None
    safety_identifier: Annotated[ANY, Hint("who calls is known by the API key")] = None
    session_id: Annotated[ANY, Hint("a person's model is the session")] = None
    mm_payload: Annotated[ANY, Hint(NO_IMAGES)] = None
    return_mm_kwargs: Annotated[ANY, Hint(NO_IMAGES)] = None

    watermarking: Annotated[ANY, Refused("replies have no watermark", (False,))] = None
    kv_transfer_params: Annotated[ANY, Refused(NO_TRANSFER)] = None
    ec_transfer_params: Annotated[ANY, Refused(NO_TRANSFER)] = None
    vllm_xargs: Annotated[ANY, Refused(OPERATORS, ({},))] = None


class UnusedInTalk(UnusedInReplies):
    """What chats and responses have besides."""

    reasoning: Annotated[ANY, Hint(NO_REASONING)] = None
    include_reasoning: Annotated[ANY, Hint(NO_REASONING)] = None
    media_io_kwargs: Annotated[ANY, Hint(NO_IMAGES)] = None
    mm_processor_kwargs: Annotated[ANY, Hint(NO_IMAGES)] = None


class UnusedParameters(UnusedInReplies):
    """What both kinds of completions have besides."""

    store: Annotated[ANY, Hint("a person's turns are in their log anyway, and the base's in none")] = None
    metadata: Annotated[ANY, Hint("it is not stored")] = None
    stream_interval: Annotated[ANY, Hint("tokens are sent as they come")] = None
    return_token_offsets: Annotated[ANY, Hint("vLLM has them on its routes for rendering alone")] = None
    thinking_token_budget: Annotated[ANY, Hint(NO_REASONING)] = None

    use_beam_search: Annotated[ANY, Refused(NO_BEAMS, (False,))] = None
    length_penalty: Annotated[ANY, Refused(NO_BEAMS, (1.0, 1))] = None
    spaces_between_special_tokens: Annotated[ANY, Refused("they are always there", (True,))] = None
    truncate_prompt_tokens: Annotated[ANY, Refused(WHOLE)] = None
    truncation_side: Annotated[ANY, Refused(WHOLE)] = None
    logprob_token_ids: Annotated[ANY, Refused("ask for the likeliest ones instead", ([],))] = None
    routed_experts_prompt_start: Annotated[ANY, Refused(EXPERTS, (0,))] = None


class UnusedChatParameters(UnusedParameters, UnusedInTalk):
    """What chats have besides."""

    reasoning_effort: Annotated[ANY, Hint(NO_REASONING)] = None
    verbosity: Annotated[ANY, Hint(SAY_IT)] = None
    prediction: Annotated[ANY, Hint("it could make a reply faster, and not other")] = None

    modalities: Annotated[ANY, Refused("replies are text alone", (["text"], []))] = None
    audio: Annotated[ANY, Refused("replies are text alone")] = None
    web_search_options: Annotated[ANY, Refused("nothing is searched in the web")] = None
    functions: Annotated[ANY, Refused("send them as `tools`", ([],))] = None
    function_call: Annotated[ANY, Refused("send it as `tool_choice`", ("none", "auto"))] = None
    echo: Annotated[ANY, Refused("the last message is in the request", (False,))] = None
    add_generation_prompt: Annotated[ANY, Refused(TOKENS_INSTEAD, (True,))] = None
    continue_final_message: Annotated[
        ANY, Refused("a turn is a whole reply: the log could not tell whose words it began with", (False,))
    ] = None
    add_special_tokens: Annotated[ANY, Refused(TOKENS_INSTEAD, (False,))] = None
    documents: Annotated[ANY, Refused("write them into a message", ([],))] = None
    chat_template: Annotated[ANY, Refused("the base's own is used")] = None


class UnusedTextParameters(UnusedParameters):
    """What text completions have besides."""

    add_special_tokens: Annotated[ANY, Refused("send the prompt as token ids instead", (True,))] = None
    prompt_embeds: Annotated[ANY, Refused("a prompt is text or token ids")] = None
    suffix: Annotated[ANY, Refused("a text is continued, and not filled in", ("",))] = None


class UnusedEmbeddingParameters(UnusedByAll):
    """What embeddings have besides."""

    mm_processor_kwargs: Annotated[ANY, Hint(NO_IMAGES)] = None

    truncate_prompt_tokens: Annotated[ANY, Refused(ALL_READ)] = None
    truncation_side: Annotated[ANY, Refused(ALL_READ)] = None
    padding: Annotated[ANY, Refused("each text is read for itself", ("do_not_pad",))] = None
    add_special_tokens: Annotated[ANY, Refused("send token ids instead", (True,))] = None
    use_activation: Annotated[ANY, Refused("embeddings have the length of 1", (True,))] = None
    embed_dtype: Annotated[ANY, Refused(BASE64, ("float32",))] = None
    endianness: Annotated[ANY, Refused(BASE64, ("native", "little"))] = None


def hints_of(body: type[BaseModel]) -> dict[str, Hint]:
    """Return the parameters of a body that change nothing."""
    return {
        name: mark
        for name, field in body.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Hint)
    }


def warnings_of(body: BaseModel, inside: str = "") -> list[dict[str, str]]:
    """Name the parameters that the caller gave and that change nothing, also those ``inside`` of others."""
    hints, warnings = hints_of(type(body)), list[dict[str, str]]()
    for field in type(body).model_fields:
        value, name = getattr(body, field), f"{inside}{field}"
        if isinstance(value, BaseModel):
            warnings += warnings_of(value, f"{name}.")
        elif field in hints and value not in (None, *hints[field].neutral):
            message = f"`{name}` changes nothing here: {hints[field].reason}."
            warnings.append({"param": name, "message": message})
    return warnings


def warnings_of_reply(parameter: str, reply: RunningReply) -> Iterator[dict[str, str]]:
    """Say how many of a parameter's messages were not read, if any, and whether the model was created."""
    if reply.left_out:
        message = f"The oldest {reply.left_out} messages were left out: the context has no room for all."
        yield {"param": parameter, "message": message}
    if reply.made_model:
        yield {"param": "model", "message": "There was no model of this name: this request created it."}

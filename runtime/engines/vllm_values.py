# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Converts requests to vLLM's values, and vLLM's results to ours."""

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from vllm.logprobs import Logprob
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import (
    RepetitionDetectionParams,
    RequestOutputKind,
    SamplingParams,
    StructuredOutputsParams,
)

from populace.actors.engine import Delta, FinishReason, GenerateRequest, Sampling, TokenLogprob
from populace.actors.errors import EngineUnavailable
from populace.engines.kept_text import kept_ids
from populace.engines.own_words import own_word_ids
from populace.engines.prompts import TOOLS, BaseTokenizer
from populace.engines.sampling import generator_seed
from populace.engines.schema_grammar import guided_schema, refused
from populace.engines.vllm_memory.request import MemoryRequest
from populace.engines.vllm_reply_logits import reply_arguments


class Call(NamedTuple):
    """An admitted request, in the form that vLLM takes."""

    request: GenerateRequest
    prompt_ids: list[int]
    lora: LoRARequest | None
    memory: MemoryRequest | None

    @property
    def writes(self) -> bool:
        return self.memory is not None and self.memory.writes

    def again(self) -> "Call":
        """Return the call that computes the same state once more, with a token that is not used."""
        assert self.memory is not None
        one_token = Sampling(max_tokens=1, temperature=0.0)
        again = f"{self.request.request_id}:again"
        request = replace(self.request, request_id=again, sampling=one_token, stream=False, keeps_to="")
        return self._replace(request=request, memory=self.memory._replace(key=secrets.token_hex(16)))


def sampling_parameters(
    request: GenerateRequest, tokens_max: int, tokenizer: BaseTokenizer, *, in_deltas: bool
) -> SamplingParams:
    """Return vLLM's sampling parameters; each of the base's ends ends a reply unless it ignores them.

    Without ``in_deltas`` the reply comes whole.
    """
    sampling = request.sampling
    repeated = sampling.repetition_that_ends
    if request.template.get(TOOLS):
        repeated = None  # the reply may be a call, whose arguments may have equal rows
    return SamplingParams(
        max_tokens=tokens_max,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=None if sampling.seed is None else generator_seed(sampling.seed),
        stop=list(sampling.stop),
        stop_token_ids=sorted(
            {*sampling.stop_token_ids, *(() if sampling.ignore_eos else tokenizer.eos_ids)}
        ),
        ignore_eos=sampling.ignore_eos,
        logprobs=sampling.logprobs,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        repetition_penalty=sampling.repetition_penalty,
        min_p=sampling.min_p,
        logit_bias=dict(sampling.logit_bias) or None,
        allowed_token_ids=list(sampling.allowed_token_ids) or None,
        bad_words=list(sampling.bad_words),
        min_tokens=sampling.min_tokens,
        include_stop_str_in_output=sampling.include_stop,
        # What begins a call is a special token of some bases.
        skip_special_tokens=sampling.skip_special_tokens and not request.template.get(TOOLS),
        prompt_logprobs=sampling.prompt_logprobs,
        structured_outputs=_structured(sampling),
        repetition_detection=None if repeated is None else RepetitionDetectionParams(**repeated._asdict()),
        output_kind=RequestOutputKind.DELTA if in_deltas else RequestOutputKind.FINAL_ONLY,
        extra_args=reply_arguments(
            kept_ids(request, tokenizer), own_word_ids(request, tokenizer), sampling.own_words_penalty
        ),
    )


def _structured(sampling: Sampling) -> StructuredOutputsParams | None:
    if sampling.response_schema is not None:
        return StructuredOutputsParams(json=guided_schema(sampling.response_schema))
    pattern = sampling.response_pattern
    return None if pattern is None else StructuredOutputsParams(regex=pattern)


def cache_salt(secret: bytes, request: GenerateRequest) -> str:
    """Make the salt of the request's key-value cache from its owner, its weights and a secret."""
    weights = "" if request.adapter is None else request.adapter.digest
    return hmac.new(secret, f"{weights}\0{request.owner.name}".encode(), hashlib.sha256).hexdigest()


def delta_of(call: Call, output: RequestOutput, token_text: Callable[[int], str]) -> Delta:
    """Read what a step added to the reply.

    vLLM ends by itself what is held to a form that it cannot make, which raises ``InvalidRequest``; for any
    other reason it raises ``EngineUnavailable``.
    """
    [completion] = output.outputs
    reason: FinishReason | None = None
    if output.finished:
        if completion.finish_reason not in ("stop", "length", "repetition"):
            if completion.finish_reason == "error" and call.request.sampling.is_held:
                raise refused("no reply in this model's tokens satisfies it, or it is too large", None)
            raise EngineUnavailable(f"vLLM ended the request with {completion.finish_reason!r}")
        reason = cast("FinishReason", completion.finish_reason)
    token_ids = tuple(completion.token_ids)
    positions = cast("list[dict[int, Logprob]]", completion.logprobs or [])
    logprobs = tuple(
        _logprob(token_id, position, token_text)
        for token_id, position in zip(token_ids, positions, strict=False)
    )
    return Delta(completion.text, token_ids, len(call.prompt_ids), logprobs, reason)


def prompt_rows(
    output: RequestOutput, prompt_ids: Sequence[int], token_text: Callable[[int], str]
) -> list[TokenLogprob] | None:
    """Read the log probabilities of a prompt's tokens but the first; None if none were asked for."""
    if output.prompt_logprobs is None:
        return None
    positions = cast("list[dict[int, Logprob] | None]", output.prompt_logprobs)
    return [
        _logprob(token_id, position, token_text)
        for token_id, position in zip(prompt_ids, positions, strict=False)
        if position is not None
    ]


def _logprob(token_id: int, position: dict[int, Logprob], token_text: Callable[[int], str]) -> TokenLogprob:
    """vLLM lists the chosen token first and then the most likely ones, which may repeat it."""
    alternatives = len(position) - (0 if position[token_id].rank in range(1, len(position) + 1) else 1)
    best = sorted(position.items(), key=lambda item: -item[1].logprob)[:alternatives]
    # What a grammar excludes has -inf, which is no alternative and not JSON.
    top = tuple(
        (index, token_text(index), entry.logprob) for index, entry in best if entry.logprob > -math.inf
    )
    return TokenLogprob(token_id, token_text(token_id), position[token_id].logprob, top)

"""The limits of one request, the same for every engine. Pure: no torch, no vLLM."""

import math

from populace.actors.engine import GenerateRequest, Sampling
from populace.actors.errors import InvalidRequest, PromptTooLong

LOGPROBS_MAX = 20
STOP_STRINGS_MAX = 16
STOP_CHARACTERS_MAX = 256
TOKEN_IDS_MAX = 1024
"""Most tokens that a bias, an allowance or a stop may name in one request."""
BAD_WORDS_MAX = 64
BIAS_MAX = 100.0
PATTERN_TOKENS_MAX = 512
PATTERN_COUNT_MAX = 512


def check_sampling(sampling: Sampling) -> None:
    """Raise ``InvalidRequest``, naming the parameter, if a value is out of its range."""
    _check(sampling.max_tokens is None or sampling.max_tokens >= 1, "max_tokens", "at least 1")
    _check(_within(sampling.temperature, 0.0, 1e6), "temperature", "a number from 0")
    _check(_within(sampling.top_p, 0.0, 1.0) and sampling.top_p > 0, "top_p", "above 0 and at most 1")
    _check(sampling.top_k >= 0, "top_k", "0 (no limit) or more")
    _check(
        sampling.logprobs is None or 0 <= sampling.logprobs <= LOGPROBS_MAX,
        "logprobs",
        f"from 0 to {LOGPROBS_MAX}",
    )
    _check(_within(sampling.frequency_penalty, -2.0, 2.0), "frequency_penalty", "from -2 to 2")
    _check(_within(sampling.presence_penalty, -2.0, 2.0), "presence_penalty", "from -2 to 2")
    _check(
        len(sampling.stop) <= STOP_STRINGS_MAX
        and all(0 < len(stop) <= STOP_CHARACTERS_MAX for stop in sampling.stop),
        "stop",
        f"at most {STOP_STRINGS_MAX} strings of 1 to {STOP_CHARACTERS_MAX} characters",
    )
    _check_choice(sampling)
    if sampling.is_held:
        # With one of these it could be that no token may come next.
        for name in ("ignore_eos", "min_tokens", "allowed_token_ids", "bad_words"):
            _check(
                not getattr(sampling, name),
                name,
                "left out if the reply has a form, or has to call a tool",
            )


def _check_choice(sampling: Sampling) -> None:
    _check(_within(sampling.repetition_penalty, 0.01, 100.0), "repetition_penalty", "from 0.01 to 100")
    _check(_within(sampling.own_words_penalty, 0.01, 100.0), "own_words_penalty", "from 0.01 to 100")
    _check(_within(sampling.min_p, 0.0, 1.0), "min_p", "from 0 to 1")
    for name in ("logit_bias", "allowed_token_ids", "stop_token_ids"):
        _check(len(getattr(sampling, name)) <= TOKEN_IDS_MAX, name, f"at most {TOKEN_IDS_MAX} token ids")
    _check(
        all(_within(bias, -BIAS_MAX, BIAS_MAX) for _, bias in sampling.logit_bias),
        "logit_bias",
        f"numbers from {-BIAS_MAX:g} to {BIAS_MAX:g}, by token id",
    )
    _check(
        len(sampling.bad_words) <= BAD_WORDS_MAX
        and all(0 < len(word.strip()) <= STOP_CHARACTERS_MAX for word in sampling.bad_words),
        "bad_words",
        f"at most {BAD_WORDS_MAX} words of 1 to {STOP_CHARACTERS_MAX} characters",
    )
    longest = sampling.max_tokens
    _check(
        sampling.min_tokens >= 0 and (longest is None or sampling.min_tokens <= longest),
        "min_tokens",
        "from 0 to the largest length of the reply",
    )
    repeated = sampling.repetition_detection
    _check(
        repeated is None
        or (
            1 <= repeated.min_pattern_size <= repeated.max_pattern_size <= PATTERN_TOKENS_MAX
            and 2 <= repeated.min_count <= PATTERN_COUNT_MAX
        ),
        "repetition_detection",
        f"of patterns from 1 to {PATTERN_TOKENS_MAX} tokens, from 2 to {PATTERN_COUNT_MAX} times",
    )
    asked = sampling.prompt_logprobs
    _check(asked is None or 0 <= asked <= LOGPROBS_MAX, "prompt_logprobs", f"from 0 to {LOGPROBS_MAX}")


def reply_tokens_max(
    prompt_tokens: int, sampling: Sampling, context_tokens: int, *, at_least: bool = False
) -> int:
    """Return how many tokens the reply may have. Raises ``PromptTooLong`` if the context has no room.

    ``at_least``: the prompt may have more tokens than these, and the reply fewer.
    """
    asked = sampling.max_tokens
    if prompt_tokens + (asked or 1) > context_tokens:
        raise PromptTooLong(prompt_tokens, asked or 1, context_tokens, at_least=at_least)
    return context_tokens - prompt_tokens if asked is None else asked


def refuse_too_long(tokens_min: int, request: GenerateRequest, context_tokens: int) -> None:
    """Raise ``PromptTooLong`` if a prompt of ``tokens_min`` tokens or more leaves its reply no room.

    Before its tokens are counted: those of eight megabytes would be while everybody waits.
    """
    reply_tokens_max(tokens_min, said_again(request), context_tokens, at_least=True)


def said_again(request: GenerateRequest) -> Sampling:
    """Return the request's sampling; a repeated reply has its own length, and nothing is chosen."""
    if request.reply_ids is None:
        return request.sampling
    return Sampling(max_tokens=len(request.reply_ids), temperature=0.0, ignore_eos=True)


def generator_seed(seed: int) -> int:
    """Fold any integer into the range that both engines' generators take as they are.

    vLLM reads -1 as "no seed", torch refuses values beyond 64 bits.
    """
    return seed % 2**63


def _within(value: float, low: float, high: float) -> bool:
    return math.isfinite(value) and low <= value <= high


def _check(holds: bool, parameter: str, rule: str) -> None:
    if not holds:
        raise InvalidRequest(f"{parameter} must be {rule}.", parameter)

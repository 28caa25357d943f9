"""Reads the keywords of ``Sampling`` that a Python caller gives; a wrong type is refused by name."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from populace.actors.engine import RepetitionDetection, Sampling, SamplingDefaults
from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import schema_of
from populace.actors.turn import check_unicode
from populace.client.options import ChatOptions, SamplingOptions

REPLY_TOKENS_DEFAULT = 256
"""Default of ``max_tokens`` for ``chat``, whose replies are meant to be read by a person."""

REAL_NUMBERS = {
    "temperature",
    "top_p",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "own_words_penalty",
}
WHOLE_NUMBERS = {"max_tokens", "top_k", "seed", "logprobs", "min_tokens"}
NONE_IS_NO_LIMIT = {"max_tokens", "seed", "logprobs"}
SWITCHES = {"ignore_eos", "include_stop", "skip_special_tokens"}
TEXTS = {"stop", "bad_words"}
TOKEN_IDS = {"allowed_token_ids", "stop_token_ids"}


def sampling_in(options: ChatOptions, base: SamplingDefaults) -> Sampling:
    """Return the sampling of a request, as ``base`` recommends where the options do not say it.

    Raises ``InvalidRequest`` for a value of the wrong type.
    """
    given: dict[str, Any] = {"max_tokens": REPLY_TOKENS_DEFAULT, **base._asdict()}
    given |= {name: value for name, value in options.items() if name in SamplingOptions.__annotations__}
    given["own_words_penalty"] = base.own_words(
        options.get("own_words_penalty"), options.get("repetition_penalty")
    )
    for name in given.keys() & REAL_NUMBERS:
        # Over HTTP the same operation has a float, and both must compare equal.
        given[name] = real_number(name, given[name])
    for name in given.keys() & WHOLE_NUMBERS:
        if not (_is_whole(given[name]) or (given[name] is None and name in NONE_IS_NO_LIMIT)):
            raise InvalidRequest(f"{name} is a whole number, not {given[name]!r:.80}.", name)
    for name in given.keys() & SWITCHES:
        if not isinstance(given[name], bool):
            raise InvalidRequest(f"{name} is True or False, not {given[name]!r:.80}.", name)
    if isinstance(given.get("stop"), str):
        given["stop"] = (given["stop"],)
    for name in given.keys() & (TEXTS | TOKEN_IDS):
        given[name] = _listed(name, given[name])
    if "logit_bias" in given:
        given["logit_bias"] = _biases(given["logit_bias"])
    told = options.get("repetition_detection")
    given["repetition_detection"] = None if told is None else _repetition(told)
    given["ends_degenerate"] = told is None and not options.get("ignore_eos") and base.ends_degenerate
    return Sampling(**given, response_schema=schema_of(options.get("response_format")))


def real_number(name: str, value: object) -> float:
    """Return the number. Raises ``InvalidRequest`` for another type, and for one that is not finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(cast("float", value)) <= sys.float_info.max:
        raise InvalidRequest(f"{name} is a number, not {value!r:.80}.", name)
    return float(cast("float", value))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(name: str, value: object) -> tuple[Any, ...]:
    entries = cast("Sequence[object]", value) if isinstance(value, Sequence) else None
    are_texts = name in TEXTS
    if entries is None or isinstance(value, str | bytes):
        fits = False
    else:
        fits = all(isinstance(entry, str) if are_texts else _is_whole(entry) for entry in entries)
    if entries is None or not fits:
        kind = "texts" if are_texts else "token ids"
        raise InvalidRequest(f"{name} must be a list of {kind}, not {value!r:.80}.", name)
    if are_texts:
        check_unicode(name, "".join(cast("Sequence[str]", entries)), name)
    return tuple(entries)


def _biases(value: object) -> tuple[tuple[int, float], ...]:
    told = cast("Mapping[object, object]", value) if isinstance(value, Mapping) else None
    if told is None or not all(_is_whole(token_id) for token_id in told):
        raise InvalidRequest(
            f"logit_bias must be like {{504: -5.0}}, by token id, not {value!r:.80}.", "logit_bias"
        )
    return tuple((cast("int", token_id), real_number("logit_bias", bias)) for token_id, bias in told.items())


def _repetition(told: object) -> RepetitionDetection | None:
    if isinstance(told, Mapping):
        sizes = cast("Mapping[str, Any]", told)
        if not sizes:
            return None
        required, known = {"max_pattern_size", "min_count"}, set(RepetitionDetection._fields)
        if required <= sizes.keys() <= known and all(_is_whole(size) for size in sizes.values()):
            return RepetitionDetection(**sizes)
    raise InvalidRequest(
        'repetition_detection must be like {"max_pattern_size": 64, "min_count": 4}, or {} for none, not '
        f"{told!r:.80}.",
        "repetition_detection",
    )

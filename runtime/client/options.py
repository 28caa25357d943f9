"""The keywords of ``chat``, ``train`` and ``ask``, for type checkers and for errors about wrong ones."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

from populace.actors.aggregation.question import Combine, Kind, Select
from populace.actors.errors import InvalidRequest
from populace.actors.training_methods import Method
from populace.actors.training_options import Start


class SamplingOptions(TypedDict, total=False):
    """The fields of ``Sampling``, but those that show the prompt, which an interaction does not.

    ``response_format`` gives the schema.
    """

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: Sequence[str]
    logprobs: int | None
    frequency_penalty: float
    presence_penalty: float
    ignore_eos: bool
    repetition_penalty: float
    own_words_penalty: float
    min_p: float
    logit_bias: Mapping[int, float]
    allowed_token_ids: Sequence[int]
    bad_words: Sequence[str]
    stop_token_ids: Sequence[int]
    min_tokens: int
    include_stop: bool
    skip_special_tokens: bool
    repetition_detection: Mapping[str, int] | None


class PeekOptions(SamplingOptions, total=False):
    """The keywords of ``ModelHandle.peek``."""

    conversation: str | None
    alias: str
    turn_seconds_max: float
    memory: Mapping[str, Any] | None
    context: Mapping[str, Any] | None
    response_format: type[BaseModel] | Mapping[str, Any] | None
    tools: list[dict[str, Any]] | None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None
    parallel_tool_calls: bool | None


class ChatOptions(PeekOptions, total=False):
    """The keywords of ``ModelHandle.chat``."""

    operation: str | None


class TrainOptions(TypedDict, total=False):
    """The fields of ``TrainingOptions``, as keywords of ``ModelHandle.train``."""

    method: Method
    rank: int | None
    alpha: float | None
    targets: str | None
    start: Start
    from_base: bool
    on: str | None
    epochs: float
    steps: int | None
    schedule_steps: int | None
    continues: bool
    learning_rate: float
    batch: int
    seed: int
    unjudged: bool
    contributors: bool
    anchor: float
    replies: int | None
    reply_tokens: int
    retrieve: int
    reward: str | None
    training_file: str | None
    validation_file: str | None
    beta: float
    rebuilds: str | None


class AskOptions(TypedDict, total=False):
    """The fields of ``Question`` but its messages, as keywords of ``Population.ask``."""

    k: int
    kind: Kind
    choices: Sequence[str]
    select: Select
    combine: Combine
    reply_tokens: int
    temperature: float
    seconds_max: float
    seed: int


def check_options(given: Mapping[str, Any], known: type, verb: str) -> None:
    """Raise ``InvalidRequest`` for a keyword that ``verb`` does not have; suggests a similar one."""
    names = list(known.__annotations__)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            meant = f" Did you mean `{near[0]}`?" if near else f" There are {', '.join(names)}."
            raise InvalidRequest(f"`{verb}` has no option `{name}`.{meant}", name)

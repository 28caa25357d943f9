"""The bodies of the routes about people's models: what is made, trained, merged, restored and forgotten."""

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field, create_model

from populace.actors.aggregation.question import MEMBERS_MAX
from populace.actors.feedback import CORRECTION_CHARACTERS_MAX
from populace.actors.forgetting import TURNS_MAX, MemoryAfter
from populace.actors.suites import CHARACTERS_MAX, CHECKS, QUESTIONS_MAX
from populace.actors.training_options import OPTIONS, Option
from populace.api.objects import example
from populace.gateway.http.body import Body, ExactInteger, NonEmptyText, OptionalName, Text, exactly_one_of
from populace.storage.records.keys import NAME_PATTERN

NewName = Annotated[Text, Field(json_schema_extra={"pattern": rf"^{NAME_PATTERN.pattern}$"})]
Alias = Annotated[
    str, Path(json_schema_extra={"pattern": rf"^{NAME_PATTERN.pattern}$", "not": {"const": "base"}})
]

REVISION = "9b1d2f3a4c5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"
"""The revision in examples."""


class FeedbackBody(Body):
    """``POST /v1/feedback``."""

    model_config = exactly_one_of(
        "completion_id", "position", example={"model": "ada", "position": 7, "thumb": "up"}
    )

    model: NonEmptyText
    completion_id: NonEmptyText | None = None
    position: ExactInteger | None = None
    thumb: Literal["up", "down"] | None = None
    rating: Annotated[float | None, Field(json_schema_extra={"minimum": 0, "maximum": 1})] = None
    correction: Annotated[
        Text | None, Field(json_schema_extra={"pattern": r"\S", "maxLength": CORRECTION_CHARACTERS_MAX})
    ] = None
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

    model_config = example(method="sft", epochs=2.0)

    tasks: list[dict[str, Any]] = []


class MergeBody(Body):
    """``POST /v1/population/merge``; ``weights`` are by member, null is the mean. See ``MergeOptions``."""

    model_config = example(models=["ada", "bob"], into="both")

    models: Annotated[list[NonEmptyText], Field(min_length=1, max_length=MEMBERS_MAX)]
    into: NewName
    weights: dict[str, float] | None = None
    method: Literal["sum", "svd", "ties", "dare", "linear"] = "sum"
    rank: Annotated[int, Field(ge=1)] | None = None
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    seed: ExactInteger = 0


class RollbackBody(Body):
    """``POST /v1/personal-models/{name}/rollback``; the default is the revision that ``latest`` names."""

    model_config = example(revision=REVISION)

    revision: NonEmptyText | None = None


class AliasBody(Body):
    """``PUT /v1/personal-models/{name}/aliases/{alias}``: a digest, its beginning, or another alias."""

    model_config = example(revision=REVISION)

    revision: Annotated[NonEmptyText, Field(json_schema_extra={"not": {"const": "base"}})]


class RestoreMemoryBody(Body):
    """``POST /v1/personal-models/{name}/memory``; ``position`` null empties the memory."""

    model_config = example(position=7)

    position: ExactInteger | None


class ForgetBody(Body):
    """``POST /v1/personal-models/{name}/forget``: turns by position, or words that find them.

    Turns that words find are forgotten only with ``confirm``.
    """

    model_config = exactly_one_of("position", "positions", "query", example={"query": "Bruno"})

    position: ExactInteger | None = None
    positions: Annotated[list[ExactInteger], Field(min_length=1, max_length=TURNS_MAX)] | None = None
    query: NonEmptyText | None = None
    confirm: bool = False
    memory: MemoryAfter = "folded"


_QUESTION_TEXT: dict[str, Any] = {"type": "string", "pattern": r"\S", "maxLength": CHARACTERS_MAX}
_QUESTION: dict[str, Any] = {
    "type": "object",
    "required": ["ask", "expect"],
    "additionalProperties": False,
    "properties": {
        "ask": _QUESTION_TEXT,
        "expect": {"anyOf": [_QUESTION_TEXT, {"type": "number"}]},
        "check": {"enum": list(CHECKS), "default": "contains"},
        "system": {"anyOf": [_QUESTION_TEXT, {"type": "null"}]},
        "least": {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "null"}]},
    },
}


class SuiteBody(Body):
    """``PUT /v1/personal-models/{name}/suite``; ``actors/suites.py`` describes a question."""

    model_config = example(
        questions=[
            {"ask": "What is my dog called?", "expect": "Bruno"},
            {"ask": "What is 3 + 4?", "expect": "7", "check": "number", "system": "Answer with a number."},
        ]
    )

    questions: Annotated[
        list[Any],
        Field(json_schema_extra={"minItems": 1, "maxItems": QUESTIONS_MAX, "items": _QUESTION}),
    ]


class EvaluationBody(Body):
    """``POST /v1/personal-models/{name}/suite/evaluations``; the revision is named as in a model's id."""

    model_config = example(revision="latest")

    revision: NonEmptyText = "latest"


class NewModelBody(Body):
    """``POST /v1/personal-models``."""

    model_config = example(name="grace")

    name: NewName

"""The bodies of the routes about people's models: what is made, trained, merged, restored and forgotten."""

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from populace.actors.aggregation.question import MEMBERS_MAX
from populace.actors.forgetting import TURNS_MAX, MemoryAfter
from populace.actors.training_options import OPTIONS, Option
from populace.gateway.http.body import Body, ExactInteger, NonEmptyText, OptionalName, Text, exactly_one_of
from populace.storage.records.keys import NAME_PATTERN


class FeedbackBody(Body):
    """``POST /v1/feedback``."""

    model_config = exactly_one_of("completion_id", "position")

    model: NonEmptyText
    completion_id: NonEmptyText | None = None
    position: ExactInteger | None = None
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


class MergeBody(Body):
    """``POST /v1/population/merge``; ``weights`` are by member, null is the mean. See ``MergeOptions``."""

    models: Annotated[list[NonEmptyText], Field(min_length=1, max_length=MEMBERS_MAX)]
    into: Text
    weights: dict[str, float] | None = None
    method: Literal["sum", "svd", "ties", "dare", "linear"] = "sum"
    rank: Annotated[int, Field(ge=1)] | None = None
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    seed: ExactInteger = 0


class RollbackBody(Body):
    """``POST /v1/personal-models/{name}/rollback``; the default is the revision that ``latest`` names."""

    revision: NonEmptyText | None = None


class AliasBody(Body):
    """``PUT /v1/personal-models/{name}/aliases/{alias}``: a digest, its beginning, or another alias."""

    revision: NonEmptyText


class RestoreMemoryBody(Body):
    """``POST /v1/personal-models/{name}/memory``; ``position`` null empties the memory."""

    position: ExactInteger | None


class ForgetBody(Body):
    """``POST /v1/personal-models/{name}/forget``: turns by position, or words that find them.

    Turns that words find are forgotten only with ``confirm``.
    """

    model_config = exactly_one_of("position", "positions", "query")

    position: ExactInteger | None = None
    positions: Annotated[list[ExactInteger], Field(min_length=1, max_length=TURNS_MAX)] | None = None
    query: NonEmptyText | None = None
    confirm: bool = False
    memory: MemoryAfter = "folded"


class NewModelBody(Body):
    """``POST /v1/personal-models``."""

    name: Annotated[Text, Field(json_schema_extra={"pattern": rf"^{NAME_PATTERN.pattern}$"})]

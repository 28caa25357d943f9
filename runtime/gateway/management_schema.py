"""The bodies of the routes that are no completions: people's models, their learning and the population."""

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from populace.actors.aggregation.question import MEMBERS_MAX
from populace.actors.forgetting import TURNS_MAX, MemoryAfter
from populace.actors.training_options import OPTIONS, Option
from populace.gateway.body import Body, NonEmptyText, OptionalName, Text
from populace.gateway.chat_messages import ChatMessage
from populace.gateway.schema import DEFAULT_QUESTION, MESSAGES_MAX, PopulationBody, TurnPosition
from populace.policies.diversity.disclosure import Sharing


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

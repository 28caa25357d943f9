"""The bodies of the population's routes."""

from typing import Annotated

from pydantic import Field

from populace.api.objects import example
from populace.gateway.completions.chat_messages import ChatMessage
from populace.gateway.completions.schema import DEFAULT_QUESTION, MESSAGES_MAX, PopulationBody
from populace.gateway.http.body import Body, NonEmptyText, exactly_one_of
from populace.policies.diversity.disclosure import Sharing


class SharingBody(Body):
    """``PUT /v1/personal-models/{name}/sharing``; null ends the model's membership."""

    model_config = example(sharing="votes")

    sharing: Sharing | None


class AskBody(PopulationBody):
    """``POST /v1/population/answers``."""

    model_config = exactly_one_of(
        "question",
        "messages",
        example={"question": "Which one is in Italy?", "choices": ["Rome", "Oslo"], "k": 3},
    )

    question: NonEmptyText | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)] | None = None
    reply_tokens: int = DEFAULT_QUESTION.reply_tokens
    temperature: float = DEFAULT_QUESTION.temperature
    seed: int = DEFAULT_QUESTION.seed
    stream: bool = False

"""The body of text completions, whose prompts have no roles."""

from dataclasses import replace
from typing import Annotated, cast

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from populace.actors.engine import Prompt, Sampling, SamplingDefaults
from populace.api.objects import example
from populace.gateway.completions.parameters import UnusedTextParameters
from populace.gateway.completions.schema import LOGPROBS_MAX, TOKENS_MAX, SamplingBody, TokenId
from populace.gateway.http.body import (
    LIST_BRANCH,
    TEXT_BRANCH,
    TOKEN_LISTS_BRANCH,
    TOKENS_BRANCH,
    NonEmptyText,
)

PROMPTS_MAX = 2048


def _prompt_branch(value: object) -> str | None:
    if not isinstance(value, list):
        return TEXT_BRANCH if isinstance(value, str) else None
    first = next(iter(cast("list[object]", value)), None)
    if isinstance(first, list):
        return TOKEN_LISTS_BRANCH
    return TOKENS_BRANCH if isinstance(first, int) else LIST_BRANCH


PromptBranch = Discriminator(
    _prompt_branch,
    custom_error_type="prompt_or_list",
    custom_error_message="Input should be a text, token ids, or a list of these",
)
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
Prompts = Annotated[
    Annotated[NonEmptyText, Tag(TEXT_BRANCH)]
    | Annotated[list[NonEmptyText], Field(min_length=1, max_length=PROMPTS_MAX), Tag(LIST_BRANCH)]
    | Annotated[TokenIds, Tag(TOKENS_BRANCH)]
    | Annotated[list[TokenIds], Field(max_length=PROMPTS_MAX), Tag(TOKEN_LISTS_BRANCH)],
    PromptBranch,
]
"""A text, the token ids of one, or several of either."""


def prompts_in(prompt: str | list[str] | list[int] | list[list[int]]) -> tuple[Prompt, ...]:
    """Return the prompts of a body, each for itself."""
    if isinstance(prompt, str):
        return (prompt,)
    texts = tuple(one for one in prompt if isinstance(one, str))
    lists = tuple(tuple(one) for one in prompt if isinstance(one, list))
    return texts or lists or (tuple(one for one in prompt if isinstance(one, int)),)


class CompletionBody(SamplingBody, UnusedTextParameters):
    """``POST /v1/completions``: a prompt is read as it is, without the chat template.

    With ``echo`` a text begins with its prompt; with ``max_tokens`` 0 as well, it is only read.
    """

    model_config = example(model="ada", prompt="The capital of France is", max_tokens=8)

    prompt: Prompts
    max_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=LOGPROBS_MAX)] | None = None
    echo: bool | None = Field(False, validate_default=True)
    best_of: int | None = None

    @field_validator("echo")
    @classmethod
    def _returns_something(cls, echo: bool | None, info: ValidationInfo) -> bool | None:
        if info.data.get("max_tokens") == 0 and not echo:
            raise ValueError("`max_tokens: 0` only reads the prompt, so it needs `echo: true`")
        return echo

    @field_validator("best_of")
    @classmethod
    def _is_all(cls, count: int | None, info: ValidationInfo) -> int | None:
        if count is not None and count != (info.data.get("n") or 1):
            raise ValueError("it must be `n`: ask for that many with `logprobs`, and choose")
        return count

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        return prompts_in(self.prompt)

    @property
    def only_reads(self) -> bool:
        """Whether nothing is asked for but the prompt."""
        return self.max_tokens == 0

    @property
    def is_turn(self) -> bool:
        """Whether the log can hold it: it has words and not tokens, and one prompt for each reply."""
        return isinstance(self.prompt, str) and not self.only_reads

    @property
    def kept(self) -> int | None:
        return super().kept if self.is_turn else None

    def to_sampling(self, base: SamplingDefaults) -> Sampling:
        # OpenAI's own default for this route is 16 tokens. An engine makes one at least.
        tokens = 16 if self.max_tokens is None else max(1, self.max_tokens)
        sampling = self.sampling(
            base, max_tokens=tokens, logprobs=self.logprobs, returns_prompt=bool(self.echo)
        )
        if self.echo and self.logprobs is not None and self.prompt_logprobs is None:
            return replace(sampling, prompt_logprobs=self.logprobs)
        return sampling

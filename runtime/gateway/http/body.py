"""The base of all request bodies: strict fields, encodable texts, and unions with clear errors."""

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
)

from populace.api.text import encodable
from populace.api.tool_choices import TOOL_BRANCH, WORD_BRANCH

TEXT_BRANCH, LIST_BRANCH = "<text>", "<list>"
TOKENS_BRANCH, TOKEN_LISTS_BRANCH = "<tokens>", "<token lists>"
MESSAGE_BRANCH, REFERENCE_BRANCH = "<message>", "<reference>"
CALL_BRANCH, RESULT_BRANCH = "<call>", "<result>"
REFUSAL_BRANCH = "<refusal>"
UNION_BRANCHES = frozenset(
    {
        *(TEXT_BRANCH, LIST_BRANCH, TOKENS_BRANCH, TOKEN_LISTS_BRANCH, WORD_BRANCH, TOOL_BRANCH),
        *(MESSAGE_BRANCH, REFERENCE_BRANCH, CALL_BRANCH, RESULT_BRANCH, REFUSAL_BRANCH),
    }
)
"""Names of a union's branches in pydantic's error locations; no parameter has such a name."""


def _branch(value: object) -> str | None:
    """Choose the branch by the value's own type, so that an error is about what the caller meant."""
    if isinstance(value, str):
        return TEXT_BRANCH
    return LIST_BRANCH if isinstance(value, list) else None


Text = Annotated[str, AfterValidator(encodable)]
# The length is checked first: after a validator of ours pydantic would count "items".
NonEmptyText = Annotated[str, Field(min_length=1), AfterValidator(encodable)]
OptionalName = NonEmptyText | None
Branch = Discriminator(
    _branch, custom_error_type="text_or_list", custom_error_message="Input should be a text or a list"
)


# The largest that every JSON reader and every schema of one holds exactly.
ExactInteger = Annotated[int, Field(ge=0, lt=2**53)]


def exactly_one_of(*names: str, example: dict[str, JsonValue]) -> ConfigDict:
    """Say in the schema of a body that it needs one of these fields, and one alone; null is none."""
    given: list[JsonValue] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names
    ]
    return ConfigDict(json_schema_extra={"oneOf": given, "examples": [example]})


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

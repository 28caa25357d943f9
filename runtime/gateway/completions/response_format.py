"""The parameters that hold a reply to a JSON schema or a pattern: ``response_format``, and vLLM's."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from populace.actors.response_schema import ANY_OBJECT, NAME, pattern_of_choices, pattern_text, schema_text
from populace.gateway.completions.parameters import ANY, Hint, Refused
from populace.gateway.http.body import Body, NonEmptyText

ONE_SPACE = "in JSON one space is written after each comma and colon, and no other white space"
SCHEMA_FIELDS = ("response_format", "guided_json", "structured_outputs")


class Form(NamedTuple):
    """What a reply is held to: a JSON schema or a pattern, and the parameter that gave it."""

    parameter: str
    schema: str | None = None
    pattern: str | None = None


class JsonSchemaBody(Body):
    """A named schema. The reply keeps to it whether or not it is ``strict``."""

    # `schema` is a method of pydantic's models.
    model_config = ConfigDict(validate_by_name=False)

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class ResponseFormatBody(Body):
    """``response_format``; ``json_schema`` goes with the type of that name only."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaBody | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormatBody":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("`json_schema` goes with the type json_schema, and only with it")
        return self

    def form(self) -> Form | None:
        if self.json_schema is None:
            return Form("response_format", ANY_OBJECT) if self.type == "json_object" else None
        text = schema_text(self.json_schema.json_schema, "response_format.json_schema.schema")
        return Form("response_format", text)


FREE_TEXT = ResponseFormatBody(type="text")
"""Asks for nothing."""


class StructuredOutputsBody(Body):
    """vLLM's ``structured_outputs``, but for grammars."""

    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    json_object: bool | None = None
    regex: NonEmptyText | None = None
    choice: Annotated[list[NonEmptyText], Field(min_length=1)] | None = None
    disable_any_whitespace: Annotated[ANY, Hint(ONE_SPACE, (False,))] = None

    grammar: Annotated[ANY, Refused("write it as a `regex` or a `json` schema")] = None
    structural_tag: Annotated[ANY, Refused("send functions as `tools`")] = None
    whitespace_pattern: Annotated[ANY, Refused(ONE_SPACE)] = None
    disable_additional_properties: Annotated[
        ANY, Refused("say it in the schema, as `additionalProperties`", (False,))
    ] = None

    @model_validator(mode="after")
    def _is_one(self) -> "StructuredOutputsBody":
        kinds = (self.json_, self.json_object or None, self.regex, self.choice)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("it has one of `json`, `json_object`, `regex` and `choice`")
        return self

    def form(self) -> Form:
        if self.json_ is not None:
            parameter = "structured_outputs.json"
            return Form(parameter, schema_text(self.json_, parameter))
        if self.regex is not None:
            parameter = "structured_outputs.regex"
            return Form(parameter, pattern=pattern_text(self.regex, parameter))
        if self.choice is not None:
            parameter = "structured_outputs.choice"
            return Form(parameter, pattern=pattern_of_choices(self.choice, parameter))
        return Form("structured_outputs", ANY_OBJECT)

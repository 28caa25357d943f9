"""The parameters that hold a reply to a JSON schema: ``response_format``, and vLLM's names for it."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from populace.actors.response_schema import ANY_OBJECT, NAME, schema_text
from populace.gateway.http.body import Body

SCHEMA_FIELDS = ("response_format", "guided_json", "structured_outputs")


class Form(NamedTuple):
    """What a reply is held to: a JSON schema, and the parameter that gave it."""

    schema: str
    parameter: str


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
            return Form(ANY_OBJECT, "response_format") if self.type == "json_object" else None
        text = schema_text(self.json_schema.json_schema, "response_format.json_schema.schema")
        return Form(text, "response_format")


class StructuredOutputsBody(Body):
    """vLLM's ``structured_outputs``; of its kinds, the two that are JSON."""

    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    json_object: Literal[True] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "StructuredOutputsBody":
        if (self.json_ is None) == (self.json_object is None):
            raise ValueError("it has either `json` or `json_object`")
        return self

    def form(self) -> Form:
        if self.json_ is None:
            return Form(ANY_OBJECT, "structured_outputs")
        return Form(schema_text(self.json_, "structured_outputs.json"), "structured_outputs.json")

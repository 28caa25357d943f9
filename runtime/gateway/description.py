"""What ``/openapi.json`` says beyond what FastAPI reads from routes: keys, events of streams, and links."""

import re
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from populace.api.completions import (
    ChatChunkObject,
    ChatCompletionObject,
    TextChunkObject,
    TextCompletionObject,
)
from populace.api.responses import ResponseEventObject

OBJECTS = (ChatCompletionObject, ChatChunkObject, TextCompletionObject, TextChunkObject, ResponseEventObject)
"""The objects that only streams have, and those whose examples have a null, which FastAPI leaves out."""


class DescribedApp(FastAPI):
    """An application that describes its streams, and which routes take the id of what another one made.

    Every route needs a key unless its own description says otherwise.
    """

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is not None:
            return self.openapi_schema
        described = super().openapi()
        _, told = models_json_schema(
            [(model, "serialization") for model in OBJECTS], ref_template="#/components/schemas/{model}"
        )
        components = described["components"]
        components["schemas"] |= told["$defs"]
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
        _add_links(described["paths"])
        return described


def _add_links(paths: dict[str, dict[str, Any]]) -> None:
    """Link what makes an object to all routes below it that need its id alone."""
    for path, methods in paths.items():
        if "{" in path or "post" not in methods:
            continue
        below = re.compile(rf"{re.escape(path)}/\{{(\w+)\}}[^{{]*")
        links = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {found[1]: "$response.body#/id"},
            }
            for other, operations in paths.items()
            if (found := below.fullmatch(other))
            for operation in operations.values()
        }
        for status, answer in methods["post"]["responses"].items():
            if links and status.startswith("2"):
                answer["links"] = links

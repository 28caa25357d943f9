"""``/v1/embeddings``: prompts as vectors, by the base alone.

Embeddings are compared with each other, so all are made with the same weights: a person's adapter and memory
take no part, and a person's model is refused.
"""

import asyncio
import base64
import math
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from populace.actors.engine import Embedding
from populace.actors.errors import InvalidRequest, TurnExpired
from populace.actors.owner import Owner
from populace.actors.rates import estimated_length
from populace.actors.span_names import (
    EMBEDDINGS,
    INPUT_TOKENS,
    OPERATION_NAME,
    PROVIDER,
    PROVIDER_NAME,
    REQUEST_MODEL,
)
from populace.api.completions import EmbeddingsObject
from populace.api.objects import example
from populace.gateway.completions.parameters import UnusedEmbeddingParameters, warnings_of
from populace.gateway.completions.text_schema import Prompts, prompts_in
from populace.gateway.http.body import Body, NonEmptyText
from populace.gateway.http.context import Caller, embedder_of, gateway_of, keyed_router
from populace.gateway.http.disconnect import while_connected
from populace.gateway.http.limits import charged
from populace.gateway.http.needs import needs
from populace.gateway.http.target import BASE_MODEL, parse_target
from populace.telemetry.tracing.spans import TRACER

router = keyed_router()


class EmbeddingsBody(Body, UnusedEmbeddingParameters):
    """``POST /v1/embeddings``; ``dimensions`` keeps the first ones, to the length of 1 again."""

    model_config = example(model=BASE_MODEL, input=["My dog is called Bruno.", "Bruno is a dog."])

    model: Annotated[NonEmptyText, Field(json_schema_extra={"const": BASE_MODEL})]
    input: Prompts
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None


@router.post("/v1/embeddings", response_model=EmbeddingsObject)
@needs("tenant")
async def embeddings(request: Request, caller: Caller, body: EmbeddingsBody) -> Response:
    """Embed texts or token ids."""
    if parse_target(caller, body.model).model is not None:
        raise InvalidRequest(
            f"Embeddings are made by the base, so that they compare: ask for `{BASE_MODEL}`.", "model"
        )
    gateway = gateway_of(request)
    base, seconds_max = gateway.engine.base.name, gateway.turn_seconds_max
    owner = Owner(caller.tenant, BASE_MODEL)
    told = {OPERATION_NAME: EMBEDDINGS, PROVIDER_NAME: PROVIDER, REQUEST_MODEL: base}

    async def embedded() -> Sequence[Embedding]:
        # Within what a client that leaves cancels: that is no error, and running out of time is one.
        with TRACER.span(f"{EMBEDDINGS} {base}", told, kind="client") as span:
            prompts = prompts_in(body.input)
            async with charged(sum(map(estimated_length, prompts))) as charge:
                async with asyncio.timeout(seconds_max):
                    made = await embedder_of(request).embed(prompts, owner)
                charge.used = sum(one.tokens for one in made)
            span.set(INPUT_TOKENS, sum(one.tokens for one in made))
        return made

    try:
        made = await while_connected(request, embedded())
    except TimeoutError:
        raise TurnExpired(BASE_MODEL, f"it took over {seconds_max:g} s") from None
    tokens = sum(one.tokens for one in made)
    written = [_written(one, body) for one in made]
    reply: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(written)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if warnings := warnings_of(body):
        reply["warnings"] = warnings
    return JSONResponse(reply)


def _written(embedding: Embedding, body: EmbeddingsBody) -> str | Sequence[float]:
    values: Sequence[float] = embedding.values
    if body.dimensions is not None:
        if body.dimensions > len(values):
            raise InvalidRequest(f"The base has {len(values)} dimensions.", "dimensions")
        values = _normalised(values[: body.dimensions])
    if body.encoding_format != "base64":
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _normalised(values: Sequence[float]) -> Sequence[float]:
    length = math.hypot(*values)
    return [value / length for value in values] if length > 0 else values

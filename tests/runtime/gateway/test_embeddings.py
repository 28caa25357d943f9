"""Embeddings in OpenAI's shape, through the official client too."""

import base64
import math
import struct
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population

PATH = "/v1/embeddings"
FOUR = [0.8, 0.6, 0.0]
"""The scripted engine's embedding of four characters or tokens."""


async def embeddings_of(client: httpx.AsyncClient, given: object, **options: Any) -> list[Any]:
    reply = (await client.post(PATH, json={"model": "base", "input": given, **options})).json()
    assert [one["index"] for one in reply["data"]] == list(range(len(reply["data"])))
    return [one["embedding"] for one in reply["data"]]


@pytest.mark.parametrize(
    ("given", "count"),
    [("four", 1), (["four", "more"], 2), ([1, 2, 3, 4], 1), ([[1, 2, 3, 4]] * 3, 3)],
    ids=str,
)
async def test_texts_and_tokens_are_embedded(client: httpx.AsyncClient, given: object, count: int) -> None:
    assert await embeddings_of(client, given) == [pytest.approx(FOUR)] * count


async def test_the_official_client_reads_what_it_asks_for(population: Population, url: str) -> None:
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        reply = await client.embeddings.create(model="base", input=["four", "a longer text"])

    assert reply.data[0].embedding == pytest.approx(FOUR)
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (17, 17)


async def test_base64_is_float32_with_the_least_byte_first(client: httpx.AsyncClient) -> None:
    [encoded] = await embeddings_of(client, "four", encoding_format="base64")

    assert struct.unpack("<3f", base64.b64decode(encoded)) == pytest.approx(FOUR)


async def test_fewer_dimensions_have_the_length_of_one_again(client: httpx.AsyncClient) -> None:
    [embedding] = await embeddings_of(client, "four", dimensions=2)
    [shortest] = await embeddings_of(client, "four", dimensions=1)

    assert math.hypot(*embedding) == pytest.approx(1)
    assert (len(embedding), shortest) == (2, [pytest.approx(1)])


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"model": "ada"}, "model"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 4}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"truncate": True}, "truncate"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_wrong_input_is_refused_by_name(
    client: httpx.AsyncClient, fields: dict[str, Any], parameter: str
) -> None:
    reply = await client.post(PATH, json={"model": "base", "input": "four", **fields})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter)

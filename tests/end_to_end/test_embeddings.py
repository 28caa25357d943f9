"""Embeddings of a running Populace: the official client, beside a chat, and one who leaves in the middle."""

import json
import time
import uuid
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import pytest
from openai import BadRequestError

from tests.end_to_end.served import Served, ask
from tests.limits import ENGINE_HANG_SECONDS
from tests.runtime.gateway.test_operations import samples_of

pytestmark = [pytest.mark.engine, pytest.mark.ray]

TEXTS = ["My dog is called Bruno.", "Our dog's name is Bruno.", "Interest rates rose again in March."]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def cosine(one: list[float], other: list[float]) -> float:
    """Of vectors whose length is 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_official_client_embeds_texts_beside_a_chat(served: Served, ada: str) -> None:
    client = served.openai()

    with ThreadPoolExecutor(1) as pool:
        chat = pool.submit(client.chat.completions.create, model=ada, messages=ask("Hello"), max_tokens=16)
        made = client.embeddings.create(model="base", input=TEXTS * 20)
        reply = chat.result()

    dog, same_dog, rates, *others = [one.embedding for one in made.data]
    assert reply.choices[0].message.content
    assert len(others) == 57
    assert made.usage.prompt_tokens == made.usage.total_tokens > 20 * 15
    assert cosine(dog, dog) == pytest.approx(1)
    assert cosine(dog, same_dog) > cosine(dog, rates)
    assert [cosine(dog, other) > 0.999 for other in others[:6]] == [True, False, False] * 2


def test_a_text_that_the_context_does_not_hold_is_refused(served: Served) -> None:
    with pytest.raises(BadRequestError) as refused:
        served.openai().embeddings.create(model="base", input=["word " * 20_000])

    assert refused.value.code == "context_length_exceeded"


def test_a_batch_whose_client_leaves_ends_in_the_engine(served: Served) -> None:
    """All of it would take an engine without a GPU many minutes."""
    body = json.dumps({"model": "base", "input": ["word " * 600] * 1600})
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    wait_until_running(served, [0])
    with closing(HTTPConnection(served.url.removeprefix("http://"), timeout=ENGINE_HANG_SECONDS)) as client:
        client.request("POST", "/v1/embeddings", body, headers)
        wait_until_running(served, range(1, 100))
    wait_until_running(served, [0])

    assert len(served.openai().embeddings.create(model="base", input=TEXTS).data) == 3


def wait_until_running(served: Served, counts: Container[float]) -> None:
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        samples = samples_of(served.call("GET", "/metrics").text)
        [running] = [value for (name, _), value in samples.items() if name == "populace_engine_running"]
        if running in counts:
            return
        time.sleep(0.2)
    raise AssertionError(f"the engine never had a number of requests in {counts}")

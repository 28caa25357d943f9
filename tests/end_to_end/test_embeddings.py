"""Who leaves while a running Populace makes their embeddings leaves it idle."""

import json
import time
from collections.abc import Container
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS
from tests.runtime.gateway.test_operations import samples_of

pytestmark = [pytest.mark.engine, pytest.mark.ray]


def test_a_batch_whose_client_leaves_ends_in_the_engine(served: Served) -> None:
    """All of it would take an engine without a GPU many minutes."""
    body = json.dumps({"model": "base", "input": ["word " * 600] * 1600})
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    wait_until_running(served, [0])
    with closing(HTTPConnection(served.url.removeprefix("http://"), timeout=ENGINE_HANG_SECONDS)) as client:
        client.request("POST", "/v1/embeddings", body, headers)
        wait_until_running(served, range(1, 100))
    wait_until_running(served, [0])

    assert len(served.openai().embeddings.create(model="base", input=["Hello"]).data) == 1


def wait_until_running(served: Served, counts: Container[float]) -> None:
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        samples = samples_of(served.call("GET", "/metrics").text)
        [running] = [value for (name, _), value in samples.items() if name == "populace_engine_running"]
        if running in counts:
            return
        time.sleep(0.2)
    raise AssertionError(f"the engine never had a number of requests in {counts}")

# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""The log of a host is that of a process of its own, and knows for whom its calls were made."""

import asyncio
from pathlib import Path

import pytest
import ray

from populace.actors.hosts import Hosts
from populace.actors.turn import ModelId
from populace.hosting.host_actor import start_hosts
from populace.hosting.host_client import RayHostClient
from populace.settings.environment import quiet_environment
from populace.storage.records.errors import PopulaceError
from populace.storage.store import Store
from populace.telemetry.calls import Caller, serving
from tests.actors.populations import SHARDS, host_options
from tests.runtime.telemetry.test_wording import hashed
from tests.runtime.telemetry.written import lines_of, options

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]


def test_a_hosts_log_has_the_request_of_a_call_that_failed(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    telemetry = options(tmp_path / "store" / "logs", log_level="debug")
    option = host_options(store)._replace(telemetry=telemetry)
    (handle,) = start_hosts([option], environment=quiet_environment() | {"OMP_NUM_THREADS": "1"})
    asyncio.run(_call_wrongly(RayHostClient(handle, "populace-host-0")))
    ray.get(handle.close.remote())
    ray.kill(handle)

    lines = lines_of(tmp_path / "store" / "logs" / "host-0.jsonl")
    [failed] = [line for line in lines if "exc" in line]
    assert (failed["process"], failed["number"], failed["request_id"]) == ("host", 0, "req_1")
    assert failed["msg"] == "the call show_model failed unexpectedly"
    assert failed["exc"].endswith("TypeError")
    assert {line["request_id"] for line in lines if "request_id" in line} == {"req_1"}
    assert [line for line in lines if "marked-name" in str(line)] == []
    assert hashed("marked-name") != "marked-name"


async def _call_wrongly(client: RayHostClient) -> None:
    with serving(Caller("req_1")):
        wrong = {"marked-name": "marked-name"}
        with pytest.raises((TypeError, PopulaceError)):
            await client.call(Hosts.show_model, ModelId("acme", "marked-name"), **wrong)  # type: ignore
    await client.call(Hosts.create_model, ModelId("acme", "marked-name"))

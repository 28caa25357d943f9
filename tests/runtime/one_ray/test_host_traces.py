# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A turn is one tree over the processes of gateway and host, also after its host was killed."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import ray

from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory
from populace.hosting.host_actor import start_hosts
from populace.settings.environment import quiet_environment
from populace.storage.store import Store
from populace.telemetry.calls import Caller, serving
from populace.telemetry.options import TraceOptions
from populace.telemetry.trace_files import spans_of_request
from populace.telemetry.tracing.setup import telemetry_setup
from populace.telemetry.tracing.spans import TRACER
from tests.actors.populations import SHARDS, host_options, ray_directory
from tests.actors.turns import grant_of, reply, turn_of
from tests.limits import HANG_SECONDS
from tests.runtime.telemetry.written import options

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]

ADA = ModelId("acme", "ada")
HOST_SPANS = {
    "populace.host.begin_turn",
    "populace.mailbox.wait",
    "populace.retrieve",
    "populace.host.finish_turn",
    "populace.commit",
    "populace.store.fsync",
}


def test_a_turn_is_one_tree_over_two_processes_also_after_the_host_was_killed(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    folder = tmp_path / "traces"
    telemetry = options(tmp_path / "store" / "logs", traces=TraceOptions("file", str(folder)))
    option = host_options(store)._replace(telemetry=telemetry)
    end = telemetry_setup(telemetry, "gateway")
    (handle,) = start_hosts([option], environment=quiet_environment() | {"OMP_NUM_THREADS": "1"})
    asyncio.run(_create(ray_directory([handle], store)))
    asyncio.run(_turn(ray_directory([handle], store), "before"))
    wait_for_host_spans(folder)
    os.kill(ray.get(handle.process_id.remote()), signal.SIGKILL)
    asyncio.run(_turn(ray_directory([handle], store), "after"))
    ray.get(handle.close.remote())
    ray.kill(handle)
    end()

    for request_id in ("before", "after"):
        spans = spans_of_request(folder, request_id)
        known = {span.span_id for span in spans}
        assert [span.name for span in spans if span.parent_id not in known] == ["turn"]
        assert len({span.trace_id for span in spans}) == 1
        assert {span.name for span in spans if span.process == "host-0"} >= HOST_SPANS
        assert {span.process for span in spans} == {"gateway-0", "host-0"}


async def _create(directory: Directory) -> None:
    await directory.create_model(ADA)


async def _turn(directory: Directory, request_id: str) -> None:
    with serving(Caller(request_id)), TRACER.root("turn", kind="server"):
        grant = await grant_of(directory, turn_of(ADA, request_id))
        await directory.finish_turn(grant, reply())


def wait_for_host_spans(folder: Path) -> None:
    """Wait until the host has written what it did in its turn: a kill loses what waits to be exported."""
    give_up = time.monotonic() + HANG_SECONDS
    while time.monotonic() < give_up:
        written = b"".join(path.read_bytes() for path in folder.glob("host-0.jsonl"))
        if b"populace.host.finish_turn" in written:
            return
        time.sleep(0.05)
    raise AssertionError("the host wrote no spans")

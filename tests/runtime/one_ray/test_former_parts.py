# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A Ray goes on with the hosts of a `populace serve` that is gone, until another one takes their place."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.experimental.internal_kv import (
    _internal_kv_del,  # pyright: ignore[reportUnknownVariableType]  # untyped
)
from ray.util import list_named_actors

from populace.actors.errors import StartFailed
from populace.cluster.former_parts import SERVING, refuse_second, replace_former
from populace.cluster.start_check import check_start
from populace.engines.engine_nodes import TABLE
from populace.hosting.host_actor import start_hosts
from populace.hosting.messages import PopulationInfo
from populace.settings.environment import process_environment
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.errors import BucketRefused
from populace.storage.records.errors import MasterKeyRefused, StoreInUse
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import Store
from scripts.bench.ports import free_port
from tests.actors.populations import SHARDS, host_options
from tests.limits import HANG_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]

FORMER = """
import sys, ray
from pathlib import Path
from populace.cluster.former_parts import replace_former
from populace.hosting.host_actor import start_hosts
from populace.hosting.messages import NAMESPACE
from populace.storage.store import Store
from tests.actors.populations import host_options

ray.init(address=sys.argv[1], namespace=NAMESPACE, log_to_driver=False)
store = Store.open(Path(sys.argv[2]))
replace_former(store.store_id, sys.argv[3] or None, print)
start_hosts([host_options(store, number, 2) for number in range(2)], environment={"OMP_NUM_THREADS": "1"})
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def unserved(one_ray: None) -> None:
    """Nobody has served in this Ray yet: the process of the tests did in the one before."""
    _internal_kv_del(SERVING, namespace=TABLE)


@contextlib.contextmanager
def former_serve(store: Store, journal: str = "") -> Generator[subprocess.Popen[str]]:
    """Begin what has the hosts of a `populace serve` in the Ray of this process."""
    address: str = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", FORMER, address, str(store.path), journal]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as former:
        assert former.stdout is not None
        assert former.stdout.readline() == "started\n"
        yield former
        former.kill()


def wait_gone() -> None:
    """Wait until Ray has seen that the process of the former one is gone."""
    give_up = time.monotonic() + HANG_SECONDS
    while True:
        try:
            return refuse_second()
        except StartFailed:
            assert time.monotonic() < give_up


def test_what_a_killed_serve_left_ends_before_another_one_starts(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    reports: list[str] = []
    with former_serve(store) as former:
        with pytest.raises(StartFailed, match=rf"another `populace serve` runs .*process {former.pid}\)"):
            replace_former(store.store_id, None, reports.append)
        assert len(list_named_actors()) == 2
    wait_gone()

    replace_former(store.store_id, None, reports.append)

    assert reports == ["Ending the parts of a populace serve that is gone"]
    assert list_named_actors() == []
    [handle] = start_hosts([host_options(store)], environment={"OMP_NUM_THREADS": "1"})
    described: PopulationInfo = ray.get(handle.describe.remote())
    assert described.hosts == 1
    ray.get(handle.close.remote())


class Listener:
    """A part of a Populace that has a port."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", port))

    def is_there(self) -> bool:
        return True


def test_a_mistake_in_a_setting_ends_nothing_that_serves(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    other = Store.create_or_open(tmp_path / "other", SHARDS)
    journal = f"file://{tmp_path}/bucket"
    right = Settings(data=store.path, journal=journal, port=free_port())
    wrong = {
        "of the store": {"data": other.path},
        "has no store.*--take-over": {"data": tmp_path / "new"},
        "names no journal": {"journal": None},
        "names the journal file:///elsewhere": {"journal": "file:///elsewhere"},
        "--take-over names": {"data": tmp_path / "new", "take_over": other.store_id},
    }
    address: str = ray.get_runtime_context().gcs_address
    with former_serve(store, journal):
        pass
    wait_gone()

    for words, changes in wrong.items():
        with pytest.raises(StartFailed, match=words):
            check_start(right.model_copy(update=changes), lambda _: None)
    assert not (tmp_path / "new").exists()
    with pytest.raises(SettingsError, match="POPULACE_CLUSTER_PORT"):
        check_start(right.model_copy(update={"ray_address": address, "cluster_port": 1}), lambda _: None)
    with socket.create_server(("127.0.0.1", right.port)), pytest.raises(SettingsError, match="--port"):
        check_start(right, lambda _: None)
    with DirectoryLock(store.path, "another Populace"), pytest.raises(StoreInUse, match="another"):
        check_start(right, lambda _: None)
    (tmp_path / "bucket").rename(tmp_path / "away")
    with pytest.raises(BucketRefused):
        check_start(right, lambda _: None)
    (tmp_path / "away").rename(tmp_path / "bucket")
    key = other.path / MASTER_KEY_FILE
    with pytest.raises(MasterKeyRefused):
        check_start(right.model_copy(update={"master_key": key}), lambda _: None)
    command = ["-m", "populace", "serve", "--ray-address", address, "--base", str(tmp_path / "nothing")]
    failed = subprocess.run(
        [sys.executable, *command, "--engine", "torch", "--data", str(store.path)],
        env=process_environment(POPULACE_JOURNAL=journal),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert failed.returncode != 0
    assert "nothing" in failed.stderr, failed.stderr
    assert len(list_named_actors()) == 2

    actor: Any = ray.remote(Listener)
    listener = actor.remote(right.port)
    assert ray.get(listener.is_there.remote())
    assert check_start(right, lambda _: None).store_id == store.store_id
    assert len(list_named_actors()) == 2
    replace_former(store.store_id, journal, lambda _: None)

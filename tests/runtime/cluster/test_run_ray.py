# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The Ray that a Populace starts, and what its processes know of the settings."""

import gc
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private import services, worker

from populace.cluster import own_ray
from populace.cluster.ray_parts import run_ray
from populace.settings.settings import Settings
from tests.limits import HANG_SECONDS

pytestmark = pytest.mark.ray


def warm_directory() -> str:
    return str(Settings.from_environment().warm_directory)


def test_a_file_that_the_command_line_named_is_read_in_every_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where adapters are in memory is a node's own setting, which its processes read and the end sweeps."""
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))
    monkeypatch.delenv("POPULACE_CONFIG_FILE", raising=False)
    file = tmp_path / "elsewhere.toml"
    file.write_text(f'warm_directory = "{tmp_path}/warm"\n')
    # Any: Ray's types know a remote function only where the decorator is written on it.
    task: Any = ray.remote(warm_directory)

    with run_ray(Settings.from_environment(config_file=file)):
        assert ray.get(task.options(num_cpus=0).remote()) == f"{tmp_path}/warm"
        node: Any = worker._global_node
        logs = [file for file in Path(node.get_logs_dir_path()).rglob("*") if file.is_file()]
        assert {file.name: oct(file.stat().st_mode) for file in logs if file.stat().st_mode & 0o077} == {}
        assert logs

    assert "POPULACE_CONFIG_FILE" not in os.environ


# Ray drops the node that it gave up, and with it what would wait for its processes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.release("cluster")
@pytest.mark.parametrize("slow", [1, own_ray.STARTS_MAX])
def test_a_node_that_started_too_slowly_for_ray_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    """Ray's wait of 30 s is not sat through: the node is there, and Ray is told what it says afterwards."""
    get_node, asked = services.get_node, list[str]()

    def late(address: str, node: str) -> Any:
        asked.append(address)
        if len(asked) <= slow:
            raise Exception(f"The current node {own_ray.TIMED_OUT}.")  # noqa: TRY002 - as Ray does
        return get_node(address, node)

    monkeypatch.setattr(services, "get_node", late)
    before = set(psutil.Process().children(recursive=True))

    if slow < own_ray.STARTS_MAX:
        with run_ray(Settings.from_environment()) as address:
            assert address == asked[-1] != asked[0]
    else:
        with pytest.raises(Exception, match=own_ray.TIMED_OUT), run_ray(Settings.from_environment()):
            pass

    _, left = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=HANG_SECONDS)
    assert left == []
    gc.collect()  # what Ray dropped warns here, and not in whichever test comes next

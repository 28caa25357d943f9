# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The Ray that a Populace starts, and what its processes know of the settings."""

import os
from pathlib import Path
from typing import Any

import pytest
import ray

from populace.cluster.ray_parts import run_ray
from populace.settings.settings import Settings

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

    assert "POPULACE_CONFIG_FILE" not in os.environ

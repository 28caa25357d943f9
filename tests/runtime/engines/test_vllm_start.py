"""What vLLM's engine process is started with."""

from pathlib import Path

import pytest

from populace.engines.options import EngineOptions
from populace.engines.vllm_environment import PLUGIN_VARIABLE, cpu_environment

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_plugin_is_on_whatever_the_device_and_only_a_cpu_gets_a_cpus_settings(
    on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.platforms import current_platform

    from populace.engines.vllm_start import process_variables

    def is_cpu(platform: object) -> bool:
        return on_cpu

    monkeypatch.setattr(type(current_platform), "is_cpu", is_cpu)

    variables = process_variables(EngineOptions(Path("base"), "f" * 64, 256, threads=3), has_memory=False)

    assert variables[PLUGIN_VARIABLE] == "1"
    of_cpus = cpu_environment(3).keys() & variables.keys()
    assert of_cpus == (cpu_environment(3).keys() if on_cpu else set())

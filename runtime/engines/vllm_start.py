# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Starts vLLM's engine process and prepares it for serving."""

from pathlib import Path
from typing import Any, cast, get_args

import torch
from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from populace.actors.engine import AdapterRef
from populace.actors.errors import EngineUnavailable, InvalidRequest
from populace.adapters.base_modules import BaseModules
from populace.adapters.packing import read_adapter
from populace.adapters.serving_image import NAMES, serving_image
from populace.engines.options import EngineOptions
from populace.engines.serving_memory import ServingMemory
from populace.engines.vllm_memory.request import MODULE_BASE, MODULE_DIGEST, MODULE_PATH, WORKER_CLASS
from populace.engines.vllm_reply_logits import processor_of
from populace.engines.vllm_statistics import VllmStatistics
from populace.engines.warm_tier import WarmTier
from populace.policies.replacements import REPLACEMENTS
from populace.policies.residency import Residency
from populace.storage.warm_files import WarmFiles, warm_root

MEMORY_ENVIRONMENT = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
"""The memory's worker reads the batch of vLLM's first model runner; the second keeps it elsewhere."""


def start_process(arguments: AsyncEngineArgs) -> AsyncLLM:
    """Start the engine process, in which replies are drawn towards the texts that they keep to."""
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


def warm_tier(modules: BaseModules, options: EngineOptions, dtype: torch.dtype) -> WarmTier:
    """Make the tier of this base's adapters in host memory, as an engine with this type reads them."""
    bytes_max = options.warm_bytes_max

    def make(adapter: AdapterRef) -> bytearray | memoryview:
        path, digest = Path(adapter.path), adapter.digest
        return serving_image(read_adapter(path, modules, rank_max=options.rank_max, digest=digest), dtype)

    # An image was checked against its base, so another base must not find it.
    suffix = f"{NAMES[dtype]}.{(modules.fingerprint or '')[:32]}"
    residency = Residency(bytes_max, REPLACEMENTS[options.residency_policy](bytes_max))
    return WarmTier(WarmFiles(warm_root()), residency, make, suffix=suffix)

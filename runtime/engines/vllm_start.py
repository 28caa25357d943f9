# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Starting vLLM's engine process, and what must be done to it before it serves."""

import tempfile
from pathlib import Path
from typing import Any, cast, get_args

from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM

from populace.actors.engine import GenerateRequest, MemoryUse, Sampling
from populace.actors.errors import EngineUnavailable, InvalidRequest
from populace.adapters.random_adapter import write_random_adapter
from populace.engines.serving_memory import ServingMemory
from populace.engines.vllm_memory.request import MODULE_BASE, MODULE_DIGEST, MODULE_PATH, WORKER_CLASS

WARM_UP_TOKENS = 40
"""More than a memory's compiled step takes in one call."""

MEMORY_ENVIRONMENT = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
"""The memory's worker reads the batch of vLLM's first model runner; the second keeps it elsewhere."""


def start_process(arguments: AsyncEngineArgs) -> AsyncLLM:
    try:
        return AsyncLLM.from_engine_args(arguments)
    except RuntimeError as error:  # the only sign vLLM gives that its process ended at once
        raise EngineUnavailable(f"vLLM did not start: {error}") from error


def served_rank(rank_max: int) -> MaxLoRARanks:
    """vLLM pads slots to one of a few ranks, in rising order: the smallest that holds ``rank_max``."""
    ranks = cast("tuple[MaxLoRARanks, ...]", get_args(MaxLoRARanks))
    fitting = [rank for rank in ranks if rank >= rank_max]
    if not fitting:
        raise InvalidRequest(f"rank_max is {rank_max}; vLLM serves ranks up to {max(ranks)}.", "rank_max")
    return cast("MaxLoRARanks", fitting[0])


def memory_arguments(memory: ServingMemory | None, fingerprint: str) -> dict[str, Any]:
    """What vLLM is told so that its workers have a memory. The worker's class is named, not imported."""
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


def warm_up_request(context_tokens: int, *, with_memory: bool) -> GenerateRequest:
    """A prompt and a reply that take every way through the engine."""
    return GenerateRequest(
        "warm-up",
        (0,) * min(WARM_UP_TOKENS, context_tokens // 2),
        Sampling(max_tokens=2, temperature=0.0, ignore_eos=True),
        memory=MemoryUse() if with_memory else None,
    )


async def guard_base(llm: AsyncLLM, base_directory: Path, linear: str, slots: int) -> None:
    """Keep the last adapter slot filled with zeros for as long as the engine lives.

    Without a GPU, vLLM 0.32 marks the rows of base requests with slot -1 and then indexes with
    it: beside requests with adapters they get the last slot's adapter, another person's weights
    (vllm#48421, vllm#49656, both open). Slots are filled from the first, so ``slots`` empty
    adapters take the others, the next gets the last one and is pinned there.
    """
    with tempfile.TemporaryDirectory(prefix="populace-") as directory:
        target = linear.rsplit(".", 1)[-1]
        empty = write_random_adapter(
            Path(directory), base_directory, seed=0, rank=1, targets=(target,), scale=0.0
        )
        for number in range(1, slots + 2):
            await llm.add_lora(LoRARequest(f"empty-{number}", number, str(empty)))
        await llm.pin_lora(slots + 1)

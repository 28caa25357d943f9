"""An engine in the caller's own process, for programs that train or measure and do not serve."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from populace.actors.engine import OwnedEngine
from populace.base.files import BaseModelFiles
from populace.engines.options import EngineOptions
from populace.engines.starting import start_engine
from populace.engines.vllm_environment import applied, cpu_environment, vllm_environment


async def start_in_process(
    base: BaseModelFiles,
    *,
    context_tokens: int,
    sequences_max: int = 32,
    rank_max: int = 16,
    memory_module: Path | None = None,
) -> OwnedEngine:
    """Start vLLM where it is installed, in 20 s on 2 cores, else the torch engine.

    Eight replies of 12 tokens to each of eight prompts: on one core vLLM samples 95 tokens a second, the
    torch engine 25. It has as many threads as torch has here, because a program that trains and samples in
    turns uses them in turns.
    """
    options = EngineOptions(
        base.directory,
        base.fingerprint,
        context_tokens,
        name=base.name,
        sequences_max=sequences_max,
        adapter_slots=2,
        rank_max=rank_max,
        threads=torch.get_num_threads(),
        memory_module=memory_module,
    )
    if find_spec("vllm") is None:
        return await start_engine("torch", options)
    # vLLM reads some of it when it is imported. Its warnings are of use only to a server.
    with applied(
        vllm_environment() | cpu_environment(torch.get_num_threads()) | {"VLLM_LOGGING_LEVEL": "ERROR"}
    ):
        import_module("populace.engines.vllm_engine")
    return await start_engine("vllm", options)

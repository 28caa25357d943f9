"""What vLLM is asked before it serves, so that no person's request is the first of its kind."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from vllm.lora.request import LoRARequest

from populace.actors.engine import GenerateRequest, MemoryUse, Sampling
from populace.adapters.base_modules import BaseModules
from populace.adapters.random_adapter import random_image

TOKENS = 40
"""Tokens of the prompt: more than a memory's compiled step takes in one call."""

NUMBER = 2**31 - 1
"""The number of the warm-up's adapter. Those of people's adapters count from 1."""


def warm_up_request(context_tokens: int, *, with_memory: bool) -> GenerateRequest:
    """Return a request whose prompt and reply use every part of the engine but adapters."""
    return GenerateRequest(
        "warm-up",
        (0,) * min(TOKENS, context_tokens // 2),
        Sampling(max_tokens=2, temperature=0.0, ignore_eos=True, logprobs=1, prompt_logprobs=1),
        memory=MemoryUse() if with_memory else None,
    )


@contextmanager
def warm_up_adapter(modules: BaseModules, dtype: torch.dtype) -> Generator[LoRARequest]:
    """Make an adapter for an engine of this type. Its file is removed after the block."""
    with tempfile.TemporaryDirectory(prefix="populace-warm-up-") as folder:
        image = Path(folder) / "image"
        image.write_bytes(random_image(modules, dtype, seed=0))
        yield LoRARequest("warm-up", NUMBER, str(image))

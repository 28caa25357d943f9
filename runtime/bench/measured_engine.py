"""Starts the engine that a bench measures in the bench's own process, with a memory module."""

from importlib.util import find_spec
from pathlib import Path

from populace.actors.engine import OwnedEngine
from populace.settings.settings import Settings


async def start_measured(
    kind: str,
    settings: Settings,
    directory: Path,
    fingerprint: str,
    module: Path | None,
    *,
    context_tokens: int,
    sequences_max: int,
) -> OwnedEngine:
    """Start the engine ``vllm`` or ``torch``, or with ``auto`` vLLM if installed. The caller closes it."""
    if kind == "vllm" or (kind == "auto" and find_spec("vllm") is not None):
        from populace.engines.vllm_engine import VllmEngine as MeasuredEngine
    else:
        from populace.engines.torch_engine import TorchEngine as MeasuredEngine

    return await MeasuredEngine.start(
        directory,
        fingerprint,
        context_tokens=context_tokens,
        sequences_max=sequences_max,
        threads=settings.threads,
        memory_module=module,
    )

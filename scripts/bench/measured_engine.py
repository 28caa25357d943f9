"""Starts the engine that a bench measures in the bench's own process, with a memory module."""

from importlib.util import find_spec
from pathlib import Path

from populace.actors.engine import OwnedEngine
from populace.engines.options import EngineOptions
from populace.engines.starting import start_engine
from populace.settings.settings import EngineChoice, Settings


async def start_measured(
    kind: EngineChoice,
    settings: Settings,
    directory: Path,
    fingerprint: str,
    module: Path | None,
    *,
    context_tokens: int,
    sequences_max: int,
) -> OwnedEngine:
    """Start an engine, with ``auto`` vLLM if it is installed, else torch. The caller closes it."""
    if kind == "auto":
        kind = "torch" if find_spec("vllm") is None else "vllm"
    options = EngineOptions(
        directory,
        fingerprint,
        context_tokens,
        sequences_max=sequences_max,
        threads=settings.threads,
        memory_module=module,
    )
    return await start_engine(kind, options)

"""The choice between the engines. Only the libraries of the chosen one are imported."""

from populace.actors.engine import OwnedEngine
from populace.engines.options import EngineOptions


async def start_engine(kind: str, options: EngineOptions) -> OwnedEngine:
    """Start the engine ``vllm`` or ``torch`` in this process."""
    if kind == "vllm":
        from populace.engines.vllm_engine import VllmEngine

        return await VllmEngine.start(options)
    from populace.engines.torch_engine import TorchEngine

    return await TorchEngine.start(options)

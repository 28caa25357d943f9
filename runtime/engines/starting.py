"""The choice between the engines. Only the libraries of the chosen one are imported."""

from populace.actors.engine import EngineKind, OwnedEngine
from populace.engines.options import EngineOptions


async def start_engine(kind: EngineKind, options: EngineOptions) -> OwnedEngine:
    """Start the engine of this kind in this process."""
    match kind:
        case "vllm":
            from populace.engines.vllm_engine import VllmEngine

            return await VllmEngine.start(options)
        case "torch":
            from populace.engines.torch_engine import TorchEngine

            return await TorchEngine.start(options)

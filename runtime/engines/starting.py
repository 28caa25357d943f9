"""The choice between the engines. Only the libraries of the chosen one are imported."""

from populace.actors.engine import EngineKind, OwnedEngine
from populace.engines.adapter_files import AdapterFiles, OwnAdapterFiles
from populace.engines.options import EngineOptions


async def start_engine(
    kind: EngineKind, options: EngineOptions, adapters: AdapterFiles | None = None
) -> OwnedEngine:
    """Start the engine of this kind in this process. ``adapters`` None: their paths are of this machine."""
    files = adapters or OwnAdapterFiles()
    match kind:
        case "vllm":
            from populace.engines.vllm_engine import VllmEngine

            return await VllmEngine.start(options, adapters=files)
        case "torch":
            from populace.engines.torch_engine import TorchEngine

            return await TorchEngine.start(options, adapters=files)

"""The options of an engine, which are the same for each of them."""

from pathlib import Path
from typing import Literal, NamedTuple


class EngineOptions(NamedTuple):
    """How to start an engine over a base. ``kv_gib`` and what follows it are of vLLM's engine alone."""

    base_directory: Path
    fingerprint: str
    context_tokens: int
    name: str = "base"
    sequences_max: int = 16
    adapter_slots: int = 8
    rank_max: int = 16
    waiting_max: int = 256
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """The type of the base's weights. ``auto`` is what the base's files say for vLLM, bfloat16 for torch."""

    threads: int | None = None
    """Threads that compute on a CPU; None takes every core."""

    memory_module: Path | None = None
    """With one, requests may bring a memory state; vLLM then does not compile on a GPU."""

    kv_gib: int = 1
    """Size of the cache of keys and values without a GPU."""

    warm_bytes_max: int = 512 * 1024**2
    """The adapters in host memory take up to this much."""

    tool_parser: str | None = None
    """vLLM's name of the parser of the calls that the base makes; None: it makes none by itself."""

    residency_policy: str = "segmented-lru"
    trace_directory: Path | None = None
    """Where the uses of adapters are recorded."""

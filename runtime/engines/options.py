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
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The type of the base's weights. ``auto`` is what the base's files say for vLLM, bfloat16 for torch,
    which has no float16."""

    threads: int | None = None
    """Threads that compute on a CPU; None takes every core."""

    memory_module: Path | None = None
    """With one, requests may bring a memory state; vLLM then does not compile on a GPU."""

    memory_digest: str | None = None
    """The digest of the memory module, by which a replica finds it where this path is not."""

    kv_gib: int = 1
    """Size of the cache of keys and values without a GPU."""

    warm_bytes_max: int = 512 * 1024**2
    """The adapters in host memory take up to this much."""

    warm_directory: Path | None = None
    """Where they are; None is in the machine's memory."""

    tensor_parallel: int = 1
    """GPUs over which the base is spread."""

    gpu_memory_share: float = 0.92
    """Share of each GPU's memory that is taken."""

    quantization: str | None = None
    """How vLLM rounds the weights as it loads them; None leaves them as they are in the base's files."""

    batched_tokens_max: int | None = None
    """Most tokens of one step; None is vLLM's default."""

    tool_parser: str | None = None
    """vLLM's name of the parser of the calls that the base makes; None: it makes none by itself."""

    @property
    def reserve(self) -> int:
        """How many places and slots there are beyond ``sequences_max`` and ``adapter_slots``.

        They are for chats of tenants without a chat in the engine: ``slots.AdmissionQueue``.
        """
        return max(1, self.sequences_max // 4)

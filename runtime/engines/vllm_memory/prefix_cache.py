# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are partly untyped.
"""Limits how much of its prompt a request with a gated memory may find in the cache.

With gates all keys and values are the base's own, so all requests of a salt share the cache. But a message
that is to be written has to be computed, though its keys and values may be there.
"""

from functools import wraps
from typing import Any

from populace.engines.vllm_memory.request import MemoryRequest


def install() -> None:
    """Wrap two functions of vLLM's key-value cache. Call once in each process, before a model is loaded."""
    from vllm.v1.core.kv_cache_manager import KVCacheManager

    manager: Any = KVCacheManager
    get_computed_blocks = manager.get_computed_blocks

    @wraps(get_computed_blocks)
    def found_before_what_is_written(self: Any, request: Any) -> Any:
        memory = _memory_of(request)
        last = None if memory is None else memory.computed_from
        return get_computed_blocks(self, request if last is None else _Beginning(request, last))

    manager.get_computed_blocks = found_before_what_is_written

    looks_up = manager.prefix_cache_lookup_enabled

    @wraps(looks_up)
    def looks_up_if_first(self: Any, request: Any) -> bool:
        """A request that was preempted would find its own blocks, and skip what it has to write again."""
        return looks_up(self, request) and not (request.num_preemptions and _memory_of(request) is not None)

    manager.prefix_cache_lookup_enabled = looks_up_if_first


class _Beginning:
    """A request of vLLM whose first tokens alone, as many as ``last``, may be found in the cache."""

    def __init__(self, request: Any, last: int) -> None:
        self._request = request
        # vLLM computes the last token of a request in any case, and looks for those before it.
        self.num_tokens = min(last + 1, request.num_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def _memory_of(request: Any) -> MemoryRequest | None:
    parameters = request.sampling_params
    return None if parameters is None else MemoryRequest.of(parameters.extra_args)

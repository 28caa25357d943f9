# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are partly untyped.
"""Which cached blocks a request with a gated memory may find, and leave to be found.

Its prompt is the base's own, so it shares the cache with everybody of its salt; but a message that is to
be written has to be computed, and what a reply read is nobody else's. So the blocks from there on are
hashed with the request's key. (vLLM chains the hashes: every later block is its own, too.)
"""

from typing import Any

from populace.engines.vllm_memory.request import MemoryRequest


def install() -> None:
    """Wrap two functions of vLLM's key-value cache. Call once in each process, before a model is loaded."""
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.core.kv_cache_manager import KVCacheManager

    utilities: Any = kv_cache_utils
    extra_keys = utilities.generate_block_hash_extra_keys

    def extra_keys_with_own(request: Any, start: int, end: int, first_image: int) -> Any:
        keys, next_image = extra_keys(request, start, end, first_image)
        memory = _memory_of(request)
        if memory is not None and memory.own_from is not None and end > memory.own_from:
            keys = (*(keys or ()), ("populace_memory", memory.key))
        return keys, next_image

    utilities.generate_block_hash_extra_keys = extra_keys_with_own

    manager: Any = KVCacheManager
    looks_up = manager.prefix_cache_lookup_enabled

    def looks_up_if_first(self: Any, request: Any) -> bool:
        """A request that was preempted would find its own blocks, and skip what it has to write again."""
        return looks_up(self, request) and not (request.num_preemptions and _memory_of(request) is not None)

    manager.prefix_cache_lookup_enabled = looks_up_if_first


def _memory_of(request: Any) -> MemoryRequest | None:
    parameters = request.sampling_params
    return None if parameters is None else MemoryRequest.of(parameters.extra_args)

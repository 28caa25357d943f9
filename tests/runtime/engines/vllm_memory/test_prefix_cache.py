# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are partly untyped.
"""What vLLM's cache manager finds of a request with a gated memory, with what is replaced in it."""

import pytest
import torch
from vllm import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

from populace.engines.vllm_memory import prefix_cache
from populace.engines.vllm_memory.request import MemoryRequest

pytestmark = pytest.mark.engine

BLOCK = 16
IDS = list(range(8 * BLOCK))


def request(name: str, ids: list[int], *spans: tuple[int, int], state: bytes = b"state") -> Request:
    memory = MemoryRequest(name, state, True, bool(spans), len(ids), spans, gated=True)
    parameters = SamplingParams(max_tokens=1, extra_args=memory.arguments())
    return Request(name, ids, parameters, None, block_hasher=get_request_block_hasher(BLOCK, sha256))


def test_all_that_is_not_written_is_found_in_the_cache_whatever_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for replaced in ("get_computed_blocks", "prefix_cache_lookup_enabled"):
        monkeypatch.setattr(
            KVCacheManager, replaced, getattr(KVCacheManager, replaced)
        )  # put back afterwards
    prefix_cache.install()
    init_none_hash(sha256)
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    groups = [KVCacheGroupSpec(["layer"], spec)]
    config = KVCacheConfig(num_blocks=100, kv_cache_tensors=[], kv_cache_groups=groups)
    manager = KVCacheManager(config, max_model_len=1024, scheduler_block_size=BLOCK, hash_block_size=BLOCK)

    def found(one: Request) -> int:
        return manager.get_computed_blocks(one)[1]

    first = request("first", IDS, (40, 60), (70, 90))
    assert found(first) == 0
    manager.allocate_slots(first, len(IDS))

    assert found(request("reads alone", IDS, state=b"another")) == 112
    assert found(request("writes from 40", IDS, (40, 60))) == 32
    assert found(request("writes from 64", IDS, (64, 70))) == 64
    assert found(request("goes on", [*IDS, *IDS], (len(IDS), len(IDS) + 9))) == 128
    assert found(request("another", IDS[::-1])) == 0

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are partly untyped.
"""What vLLM's cache manager finds of a request with a gated memory: in a process, since it is wrapped."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.engine

FINDS = """
import torch
from vllm import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

from populace.engines.vllm_memory import prefix_cache
from populace.engines.vllm_memory.request import MemoryRequest

BLOCK = 16
prefix_cache.install()
init_none_hash(sha256)
spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
groups = [KVCacheGroupSpec(["layer"], spec)]
config = KVCacheConfig(num_blocks=100, kv_cache_tensors=[], kv_cache_groups=groups)
manager = KVCacheManager(config, max_model_len=1024, scheduler_block_size=BLOCK, hash_block_size=BLOCK)

def request(name, ids, spans, state=b"state"):
    memory = MemoryRequest(name, state, True, bool(spans), len(ids), spans, gated=True)
    parameters = SamplingParams(max_tokens=1, extra_args=memory.arguments())
    return Request(name, ids, parameters, None, block_hasher=get_request_block_hasher(BLOCK, sha256))

def found(one):
    return manager.get_computed_blocks(one)[1]

ids = list(range(8 * BLOCK))
first = request("first", ids, ((40, 60), (70, 90)))
assert found(first) == 0
manager.allocate_slots(first, len(ids))
print([
    found(request("reads alone", ids, (), state=b"another")),
    found(request("writes from 40", ids, ((40, 60),))),
    found(request("writes from 64", ids, ((64, 70),))),
    found(request("goes on", [*ids, *ids], ((len(ids), len(ids) + 9),))),
    found(request("another", ids[::-1], ())),
])
"""


def test_all_that_is_not_written_is_found_in_the_cache_whatever_is_remembered() -> None:
    done = subprocess.run([sys.executable, "-c", FINDS], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[112, 32, 64, 128, 0]"

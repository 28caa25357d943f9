"""The memory in the dtype that is served, with this folder's engines on a tiny base."""

import pytest

from tests.runtime.engines.test_memory_bfloat16 import (
    test_a_batch_with_an_adapter_and_the_base_is_what_each_is_alone,
    test_a_reply_said_again_leaves_the_same_state_token_by_token,
)

__all__ = [
    "test_a_batch_with_an_adapter_and_the_base_is_what_each_is_alone",
    "test_a_reply_said_again_leaves_the_same_state_token_by_token",
]

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

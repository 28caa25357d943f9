"""Top-p on a CPU leaves the same tokens as vLLM's own, whatever the others in the batch ask for."""

import pytest
import torch

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine


@pytest.mark.parametrize("scale", [0.3, 2.0, 20.0])
def test_the_same_tokens_are_left_as_by_a_sort_of_all(scale: float) -> None:
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

    from populace.engines.vllm_cpu_top_p import of_the_head

    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(8, 5000, generator=generator) * scale
    logits[:, 17] = -torch.inf  # what a grammar excludes
    p = torch.tensor([0.9, 0.5, 0.99, 1.0, 0.9, 0.1, 1e-6, 0.95])
    k = torch.tensor([5, 5000, 5000, 1, 40, 5000, 3, 7])
    apply = of_the_head(apply_top_k_top_p_pytorch)

    for asked in ((None, p), (k, p), (k, None), (None, None)):
        wanted = apply_top_k_top_p_pytorch(logits.clone(), *asked, allow_cpu_sync=True)
        torch.testing.assert_close(apply(logits.clone(), *asked, allow_cpu_sync=True), wanted, rtol=0, atol=0)

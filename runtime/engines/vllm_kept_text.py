# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""Draws replies towards their texts inside vLLM's workers, by its own interface for logits processors.

vLLM has two model runners, and each has an interface of its own.
"""

from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondLogitsProcessor

from populace.engines.kept_text import KEEP_BIAS, KeptText

ARGUMENT = "populace_kept_text"
"""The key of the tokens that a reply is drawn towards, in its ``SamplingParams.extra_args``."""


def kept_arguments(ids: list[int]) -> dict[str, Any] | None:
    """Return the ``extra_args`` of a request that keeps to these tokens; None if there are none."""
    return {ARGUMENT: ids} if ids else None


def processor_of(config: VllmConfig) -> type[LogitsProcessor] | type[SecondLogitsProcessor] | None:
    """Return the class for the model runner that vLLM takes with ``config``.

    It is None with speculative decoding, where the first runner refuses such classes: no text draws then.
    """
    if config.speculative_config is not None:
        return None
    return SecondRunnerTexts if config.use_v2_model_runner else FirstRunnerTexts


class FirstRunnerTexts(LogitsProcessor):
    """The texts of the replies in the batch of vLLM's first model runner, by row."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._replies: dict[int, tuple[KeptText, list[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self._replies, batch_update, _begun)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        # Only now: a list may end in a placeholder before, which vLLM replaces right before the processors.
        rows = {row: kept.following(reply_ids) for row, (kept, reply_ids) in self._replies.items()}
        return _raised(logits, rows)


class SecondRunnerTexts(SecondLogitsProcessor):
    """The texts of the replies of vLLM's second model runner, by the slot that a request keeps."""

    def __init__(self, vllm_config: VllmConfig, req_states: LogitsProcRequestState) -> None:
        self._states = req_states
        self._replies: dict[int, tuple[KeptText, list[int]]] = {}

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        # The slot may have what it had for another request, or for this one before a preemption.
        self._replies.pop(req_idx, None)
        begun = _begun(sampling_params, None, [])
        if begun is not None:
            self._replies[req_idx] = begun
        return begun is not None

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        rows: dict[int, list[int]] = {}
        lengths = ctx.seq_lens_upper_bound_np.tolist()
        for row, slot in enumerate(ctx.idx_mapping_np.tolist()):
            if slot in self._replies:
                kept, reply_ids = self._replies[slot]
                read = int(self._states.prompt_len.np[slot]) + len(reply_ids)
                if read < lengths[row]:
                    # It waits for the device, which alone has the last token: only replies with a text do.
                    reply_ids += self._states.all_token_ids.gpu[slot, read : lengths[row]].tolist()
                rows[row] = kept.following(reply_ids)
        return _raised(logits, rows)


def _begun(
    parameters: SamplingParams, prompt_ids: list[int] | None, reply_ids: list[int]
) -> tuple[KeptText, list[int]] | None:
    ids = (parameters.extra_args or {}).get(ARGUMENT)
    return None if ids is None else (KeptText(ids), reply_ids)


def _raised(logits: torch.Tensor, rows: dict[int, list[int]]) -> torch.Tensor:
    """Raise the logits of each row's tokens, in place."""
    places = [(row, token_id) for row, token_ids in rows.items() for token_id in token_ids]
    if places:
        at = torch.tensor(places, device=logits.device)
        logits[at[:, 0], at[:, 1]] += KEEP_BIAS
    return logits

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""Changes the logits of replies inside vLLM's workers, as a logits processor of vLLM's interface.

A reply is drawn towards the text that it keeps to, or kept from the words of its chat's earlier replies. vLLM
has two model runners, and each has an interface of its own.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondLogitsProcessor

from populace.engines.kept_text import KEEP_BIAS, KeptText
from populace.engines.own_words import OwnWords, penalised

KEPT = "populace_kept_text"
"""The key of the tokens that a reply is drawn towards, in its ``SamplingParams.extra_args``."""

OWN_WORDS = "populace_own_words"
"""The key of the tokens of earlier replies there, after the penalty on them."""


def reply_arguments(kept_ids: list[int], own_ids: Collection[int], penalty: float) -> dict[str, Any] | None:
    """Return the ``extra_args`` of a request whose reply is drawn or kept from tokens; None without any."""
    arguments: dict[str, Any] = {}
    if kept_ids:
        arguments[KEPT] = kept_ids
    if own_ids:
        arguments[OWN_WORDS] = [penalty, *sorted(own_ids)]
    return arguments or None


def processor_of(config: VllmConfig) -> type[LogitsProcessor] | type[SecondLogitsProcessor] | None:
    """Return the class for the model runner that vLLM takes with ``config``.

    It is None with speculative decoding, where the first runner refuses such classes: nothing is drawn then.
    """
    if config.speculative_config is not None:
        return None
    return SecondRunnerReplies if config.use_v2_model_runner else FirstRunnerReplies


class _Reply(NamedTuple):
    """What is done to one reply, and its tokens so far."""

    kept: KeptText | None
    own: OwnWords | None
    ids: list[int]

    def change(self, logits_V: torch.Tensor) -> None:
        """Change the logits of the reply's next token, in place."""
        if self.kept is not None and (drawn := self.kept.following(self.ids)):
            logits_V[torch.tensor(drawn, device=logits_V.device)] += KEEP_BIAS
        if self.own is not None:
            said = torch.tensor(self.own.said(self.ids), device=logits_V.device)
            logits_V[said] = penalised(logits_V[said], self.own.penalty)


class FirstRunnerReplies(LogitsProcessor):
    """The replies in the batch of vLLM's first model runner, by row."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._replies: dict[int, _Reply] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self._replies, batch_update, _begun)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        # Only now: a list may end in a placeholder before, which vLLM replaces right before the processors.
        for row, reply in self._replies.items():
            reply.change(logits[row])
        return logits


class SecondRunnerReplies(SecondLogitsProcessor):
    """The replies of vLLM's second model runner, by the slot that a request keeps."""

    def __init__(self, vllm_config: VllmConfig, req_states: LogitsProcRequestState) -> None:
        self._states = req_states
        self._replies: dict[int, _Reply] = {}

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        # The slot may have what it had for another request, or for this one before a preemption.
        self._replies.pop(req_idx, None)
        begun = _begun(sampling_params, None, [])
        if begun is not None:
            self._replies[req_idx] = begun
        return begun is not None

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        lengths = ctx.seq_lens_upper_bound_np.tolist()
        for row, slot in enumerate(ctx.idx_mapping_np.tolist()):
            if slot in self._replies:
                reply = self._replies[slot]
                read = int(self._states.prompt_len.np[slot]) + len(reply.ids)
                if read < lengths[row]:
                    # It waits for the device, which alone has the last token: only such replies do.
                    reply.ids.extend(self._states.all_token_ids.gpu[slot, read : lengths[row]].tolist())
                reply.change(logits[row])
        return logits


def _begun(parameters: SamplingParams, prompt_ids: list[int] | None, reply_ids: list[int]) -> _Reply | None:
    arguments = parameters.extra_args or {}
    kept, own = arguments.get(KEPT), arguments.get(OWN_WORDS)
    if kept is None and own is None:
        return None
    return _Reply(
        None if kept is None else KeptText(kept),
        None if own is None else OwnWords(own[1:], own[0]),
        reply_ids,
    )

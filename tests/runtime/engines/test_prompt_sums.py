# pyright: reportUnknownMemberType=false
# torch's tolist is untyped.
"""The sums of prompts' hidden states in vLLM's workers: over chunks, preemption and cancelled prompts."""

import math
from array import array
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from populace.engines import vllm_prompt_sums
from populace.engines.vllm_prompt_sums import ARGUMENT, SUMS_KEPT, EmbeddingWorker, PromptSums

HIDDEN_TH = (100 + 7 * torch.arange(20.0)).view(5, 4).to(torch.bfloat16)
TOKENS, WIDTH = HIDDEN_TH.shape


def direction(hidden_TH: torch.Tensor) -> list[float]:
    rows = cast("list[list[float]]", hidden_TH.tolist())
    values = [sum(column) for column in zip(*rows, strict=True)]
    return [value / math.hypot(*values) for value in values]


def taken(sums: PromptSums, key: str) -> list[float] | None:
    found = sums.take(key)
    return None if found is None else list(array("f", found))


@pytest.mark.parametrize("chunks", [(5,), (2, 2, 1), (1, 4)], ids=str)
def test_the_chunks_of_a_prompt_sum_up_to_its_mean(chunks: tuple[int, ...]) -> None:
    sums, position = PromptSums(), 0
    for tokens in chunks:
        sums.add("key", TOKENS, position, HIDDEN_TH[position : position + tokens])
        position += tokens

    assert taken(sums, "key") == pytest.approx(direction(HIDDEN_TH))
    assert taken(sums, "key") is None


def test_a_preempted_prompt_is_summed_up_anew() -> None:
    sums = PromptSums()
    sums.add("key", TOKENS, 0, HIDDEN_TH[:3])
    sums.add("key", TOKENS, 0, HIDDEN_TH[:2])
    sums.add("key", TOKENS, 2, HIDDEN_TH[2:])

    assert taken(sums, "key") == pytest.approx(direction(HIDDEN_TH))


def test_what_follows_the_prompt_does_not_count() -> None:
    sums = PromptSums()
    sums.add("key", 3, 0, HIDDEN_TH[:2])
    sums.add("key", 3, 2, HIDDEN_TH[2:])
    sums.add("key", 3, 5, HIDDEN_TH[:1])

    assert taken(sums, "key") == pytest.approx(direction(HIDDEN_TH[:3]))


def test_a_prompt_of_which_tokens_are_missing_or_repeated_has_no_sum() -> None:
    sums = PromptSums()
    sums.add("cached", TOKENS, 2, HIDDEN_TH[2:])
    sums.add("skipped", TOKENS, 0, HIDDEN_TH[:1])
    sums.add("skipped", TOKENS, 2, HIDDEN_TH[2:])
    sums.add("repeated", TOKENS, 0, HIDDEN_TH[:3])
    sums.add("repeated", TOKENS, 2, HIDDEN_TH[2:])
    sums.add("unfinished", TOKENS, 0, HIDDEN_TH[:4])

    for key in ("cached", "skipped", "repeated", "unfinished", "unknown"):
        assert taken(sums, key) is None


def test_prompts_that_are_never_taken_make_room() -> None:
    sums = PromptSums()
    for number in range(SUMS_KEPT + 1):
        sums.add(f"{number}", 1, 0, HIDDEN_TH[:1])

    assert taken(sums, "0") is None
    assert [taken(sums, f"{number}") is None for number in (1, SUMS_KEPT)] == [False, False]


class Step:
    """Two requests in a step: one that nobody embeds, and after it tokens of one that has a key."""

    def __init__(self, position: int, tokens: int) -> None:
        self.req_ids = ["chat", "embedded"]
        self.idx_mapping_np = np.array([1, 0])
        self.query_start_loc_np = np.array([0, 1, 1 + tokens])
        self.num_scheduled_tokens = np.array([1, tokens])
        self.num_computed_prefill_tokens_np = np.array([7, position])
        self.hidden_TH = torch.cat([torch.full((1, WIDTH), 1e6), HIDDEN_TH[position : position + tokens]])


def parameters(key: str | None) -> Any:
    arguments = None if key is None else {ARGUMENT: key}
    return SimpleNamespace(extra_args=arguments, prompt_logprobs=None, prompt_logprob_token_ids=None)


def watching(runner: object) -> EmbeddingWorker:
    worker = EmbeddingWorker()
    worker.model_runner = runner
    worker.watch_prompts()
    return worker


def embedding(worker: EmbeddingWorker) -> list[float] | None:
    [found] = worker.take_embeddings(["key"])
    return None if found is None else list(array("f", found))


def test_the_first_model_runner_is_watched() -> None:
    """It is read as vLLM's ``_get_prompt_logprobs_dict`` reads it; ``test_embeddings`` has the real one."""

    def computed(_: torch.Tensor, scheduled: dict[str, int]) -> dict[str, int]:
        return scheduled

    chat = SimpleNamespace(sampling_params=parameters(None))
    embedded = SimpleNamespace(
        sampling_params=parameters("key"), num_prompt_tokens=TOKENS, num_computed_tokens=0
    )
    runner = SimpleNamespace(
        requests={"chat": chat, "embedded": embedded},
        input_batch=SimpleNamespace(req_id_to_index={"chat": 0, "embedded": 1}),
        query_start_loc=SimpleNamespace(np=np.array([0, 1, 4])),
        _get_prompt_logprobs_dict=computed,
    )
    worker = watching(runner)
    compute: Any = runner._get_prompt_logprobs_dict

    for position, tokens in ((0, 3), (3, 2)):
        embedded.num_computed_tokens = position
        scheduled = {"embedded": tokens, "chat": 1}
        assert compute(Step(position, tokens).hidden_TH, scheduled) is scheduled

    assert embedding(worker) == pytest.approx(direction(HIDDEN_TH))


def test_the_second_model_runner_is_watched() -> None:
    """vLLM takes it on a GPU without a memory. What it computes for prompts runs without a GPU, too."""
    from vllm.v1.worker.gpu.sample.prompt_logprob import PromptLogprobsWorker

    prompts: Any = PromptLogprobsWorker(4, torch.device("cpu"))
    worker = watching(SimpleNamespace(prompt_logprobs_worker=prompts))
    prompts.add_request("embedded", 0, parameters("key"))
    prompts.add_request("chat", 1, parameters(None))

    lengths = np.array([TOKENS, 3])
    for position, tokens in ((0, 3), (3, 2)):
        step = Step(position, tokens)
        assert prompts.compute_prompt_logprobs(None, step.hidden_TH, step, None, None, lengths) == {}

    assert embedding(worker) == pytest.approx(direction(HIDDEN_TH))

    prompts.remove_request("embedded")
    step = Step(0, TOKENS)
    prompts.compute_prompt_logprobs(None, step.hidden_TH, step, None, None, lengths)
    assert embedding(worker) is None


def test_a_worker_without_the_end_of_the_pipeline_has_no_sums() -> None:
    assert embedding(watching(SimpleNamespace(prompt_logprobs_worker=None))) is None


def test_vllm_finds_the_worker_by_its_name() -> None:
    module, _, name = vllm_prompt_sums.EXTENSION_CLASS.rpartition(".")

    assert (module, name) == (vllm_prompt_sums.__name__, EmbeddingWorker.__name__)

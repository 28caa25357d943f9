# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Each row of vLLM's batch is drawn to its own text, or kept from its own words, by both runners."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from populace.engines.kept_text import KEEP_BIAS

pytest.importorskip("vllm")

from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

from populace.engines.vllm_reply_logits import (
    FirstRunnerReplies,
    SecondRunnerReplies,
    processor_of,
    reply_arguments,
)

pytestmark = pytest.mark.engine

TEXT = [1, 2, 3]
OTHER = [4, 5, 6]
PLACEHOLDER = -1
ANY: Any = None


def parameters(ids: list[int], own_ids: Collection[int] = (), penalty: float = 1.0) -> SamplingParams:
    return SamplingParams(extra_args=reply_arguments(ids, own_ids, penalty))


def raised(logits_BV: torch.Tensor) -> list[list[int]]:
    """Return each row's tokens that were raised; all others must be as they were."""
    rows = cast("list[list[float]]", logits_BV.tolist())
    assert {value for row in rows for value in row} <= {0.0, KEEP_BIAS}
    return [[token_id for token_id, value in enumerate(row) if value] for row in rows]


class Batch:
    """A batch of vLLM's first runner: lists of tokens that grow while the processor has them."""

    def __init__(self, *texts: list[int]) -> None:
        self.processor = FirstRunnerReplies(ANY, torch.device("cpu"), False)
        self.replies: list[list[int]] = [[] for _ in texts]
        added = [(row, parameters(ids), [0], self.replies[row]) for row, ids in enumerate(texts)]
        self.update(added=added)

    def update(self, **changes: Any) -> None:
        everything: dict[str, Any] = {"removed": [], "added": [], "moved": [], **changes}
        self.processor.update_state(BatchUpdate(batch_size=len(self.replies), **everything))

    def raised(self) -> list[list[int]]:
        self.processor.update_state(None)
        return raised(self.processor.apply(torch.zeros(len(self.replies), 8)))


def test_each_row_is_drawn_to_its_own_text_and_one_without_to_none() -> None:
    batch = Batch(TEXT, [], OTHER)
    assert batch.raised() == [[1], [], [4]]

    for reply, token_id in zip(batch.replies, (1, 1, 5), strict=True):
        reply.append(token_id)
    assert batch.raised() == [[2], [], [6]]

    for reply in batch.replies:
        reply.append(7)
    assert batch.raised() == [[], [], []]


def test_a_row_that_moves_takes_its_text_along() -> None:
    batch = Batch(TEXT, [], OTHER)

    batch.update(moved=[(0, 1, MoveDirectionality.SWAP)])
    assert batch.raised() == [[], [1], [4]]

    batch.update(removed=[1], moved=[(2, 1, MoveDirectionality.UNIDIRECTIONAL)])
    assert batch.raised() == [[], [4], []]


def test_a_place_in_the_batch_keeps_nothing_of_who_had_it() -> None:
    batch = Batch(TEXT, OTHER)
    batch.replies[0].append(1)

    batch.update(added=[(0, parameters([]), [0], []), (1, parameters(TEXT), [0], [2])])

    assert batch.raised() == [[], [3]]


def test_a_token_that_vllm_knows_late_is_read_when_it_is_known() -> None:
    """With asynchronous scheduling the list has a placeholder until right before the processors."""
    batch = Batch(TEXT)
    batch.raised()

    batch.replies[0].append(PLACEHOLDER)
    batch.processor.update_state(None)
    batch.replies[0][-1] = 1

    assert raised(batch.processor.apply(torch.zeros(1, 8))) == [[2]]


def test_a_row_is_kept_from_the_words_of_earlier_replies_and_from_its_own() -> None:
    batch = Batch(TEXT, [])
    own: list[int] = []
    batch.update(added=[(1, parameters([], (5, 6), 2.0), [5, 6, 0], own)])
    logits_BV = torch.tensor([[0.0] * 8, [4.0, -4.0, 4.0, 4.0, 4.0, 4.0, -4.0, 4.0]])

    first_BV = batch.processor.apply(logits_BV.clone())
    assert first_BV[1].tolist() == [4.0, -4.0, 4.0, 4.0, 4.0, 2.0, -8.0, 4.0]
    assert first_BV[0].tolist() == [0.0, KEEP_BIAS, *[0.0] * 6], "the other row has its text"

    own += [0, 1]
    assert batch.processor.apply(logits_BV.clone())[1].tolist() == [2.0, -8.0, 4.0, 4.0, 4.0, 2.0, -8.0, 4.0]


def test_the_second_model_runner_keeps_a_slot_from_its_own_words() -> None:
    slots = Slots()
    slots.add(2, [], 3, [])
    assert slots.processor.add_request(2, parameters([], (5,), 2.0))
    step: Any = SimpleNamespace(idx_mapping_np=np.array([2]), seq_lens_upper_bound_np=slots.lengths[[2]])
    assert slots.processor.apply(torch.ones(1, 8), step)[0].tolist() == [1, 1, 1, 1, 1, 0.5, 1, 1]

    slots.say(2, 7)
    step.seq_lens_upper_bound_np = slots.lengths[[2]]
    assert slots.processor.apply(torch.ones(1, 8), step)[0].tolist() == [1, 1, 1, 1, 1, 0.5, 1, 0.5]


class Slots:
    """The state of vLLM's second runner, which has all tokens of a request in the row of its slot."""

    def __init__(self) -> None:
        self.ids = torch.zeros(4, 8, dtype=torch.int32)
        self.prompts = np.zeros(4, dtype=np.int32)
        self.lengths = np.zeros(4, dtype=np.int32)
        states: Any = SimpleNamespace(
            all_token_ids=SimpleNamespace(gpu=self.ids), prompt_len=SimpleNamespace(np=self.prompts)
        )
        self.processor = SecondRunnerReplies(ANY, states)

    def add(self, slot: int, text: list[int], prompt_tokens: int, said: list[int]) -> bool:
        self.prompts[slot] = self.lengths[slot] = prompt_tokens
        self.ids[slot] = 0
        for token_id in said:
            self.say(slot, token_id)
        return self.processor.add_request(slot, parameters(text))

    def say(self, slot: int, token_id: int) -> None:
        self.ids[slot, int(self.lengths[slot])] = token_id
        self.lengths[slot] += 1

    def raised(self, *slots: int, read: int | None = None) -> list[list[int]]:
        """Say what is raised in a step of these slots; with ``read`` it reads their prompts so far only."""
        lengths = self.lengths[[*slots]] if read is None else np.full(len(slots), read)
        step: Any = SimpleNamespace(idx_mapping_np=np.array(slots), seq_lens_upper_bound_np=lengths)
        return raised(self.processor.apply(torch.zeros(len(slots), 8), step))


def test_the_second_model_runner_draws_each_row_to_the_text_of_its_slot() -> None:
    """vLLM takes it on a GPU without a memory; its own state of a batch is not made without one."""
    slots = Slots()
    assert [slots.add(0, TEXT, 3, []), slots.add(2, [], 1, []), slots.add(3, OTHER, 2, [])] == [
        True,
        False,
        True,
    ]
    assert slots.raised(3, 2, 0) == [[4], [], [1]]

    for slot, token_id in ((0, 1), (2, 1), (3, 5)):
        slots.say(slot, token_id)
    assert slots.raised(0, 2, 3) == [[2], [], [6]]

    slots.say(0, 2)
    assert slots.raised(2, 0) == [[], [3]]


def test_a_slot_of_the_second_model_runner_begins_anew_with_each_request() -> None:
    slots = Slots()
    slots.add(0, TEXT, 3, [])
    slots.say(0, 1)
    assert slots.raised(0) == [[2]]

    slots.add(0, OTHER, 2, [4, 5])  # as after a preemption, with what it said before
    assert slots.raised(0, read=1) == [[4]]
    assert slots.raised(0) == [[6]]

    slots.add(0, [], 2, [])
    assert slots.raised(0) == [[]]


@pytest.mark.parametrize(
    ("speculative", "second", "expected"),
    [
        (None, False, FirstRunnerReplies),
        (None, True, SecondRunnerReplies),
        ({}, False, None),
        ({}, True, None),
    ],
)
def test_each_model_runner_has_the_class_that_it_takes(
    speculative: object, second: bool, expected: type | None
) -> None:
    config: Any = SimpleNamespace(speculative_config=speculative, use_v2_model_runner=second)

    assert processor_of(config) is expected


def test_both_classes_are_of_the_interfaces_that_vllm_checks() -> None:
    from vllm.v1.sample.logits_processor import cached_load_custom_logitsprocs
    from vllm.v1.worker.gpu.sample.logits_processor import build_custom_logits_processors_params_validator

    names = {kind: f"{kind.__module__}:{kind.__name__}" for kind in (FirstRunnerReplies, SecondRunnerReplies)}

    assert cached_load_custom_logitsprocs((names[FirstRunnerReplies],)) == [FirstRunnerReplies]
    build_custom_logits_processors_params_validator([names[SecondRunnerReplies]])(parameters(TEXT))

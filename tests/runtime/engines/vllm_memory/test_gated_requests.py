"""The books of a gated memory's requests: parts of messages, preemption, and whose blocks are whose."""

import pytest
import torch

from populace.engines.vllm_memory.gated_requests import GatedRequest, GatedRequests, Pending, WrittenPart
from populace.engines.vllm_memory.request import MemoryRequest

EMPTY = torch.zeros(2, 1, 3, 3)
REQUEST = MemoryRequest(
    key="one", state=None, reads=True, writes=True, prompt_tokens=60, spans=((20, 30), (50, 60)), gated=True
)


def known(request: MemoryRequest = REQUEST) -> GatedRequest:
    return GatedRequests(EMPTY.clone).of(request)


def test_a_message_is_followed_through_the_steps_that_read_it() -> None:
    one = known()
    one.begin(0)
    assert one.parts(100, 25) == [WrittenPart(120, 125, begins=True, ends=False)]
    one.seen += 25
    one.begin(25)
    assert one.parts(0, 30) == [
        WrittenPart(0, 5, begins=False, ends=True),
        WrittenPart(25, 30, begins=True, ends=False),
    ]
    one.seen += 30
    one.begin(55)
    assert one.parts(7, 5) == [WrittenPart(7, 12, begins=False, ends=True)]
    assert not one.lost


def test_a_cached_beginning_loses_nothing_and_a_cached_message_is_noticed() -> None:
    beginning, message = known(), known()

    beginning.begin(20)
    message.begin(32)

    assert not beginning.lost
    assert message.lost


def test_what_is_computed_again_begins_from_the_start() -> None:
    one = known()
    one.begin(0)
    one.seen, one.state, one.opened, one.holds = 40, torch.ones_like(EMPTY), True, True

    one.begin(0)

    assert torch.equal(one.state, EMPTY)
    assert (one.seen, one.opened, one.holds) == (0, False, False)


@pytest.mark.parametrize(
    ("change", "computed_from"),
    [({}, 20), ({"spans": ()}, None), ({"gated": False}, None)],
)
def test_what_a_request_writes_is_computed(change: dict[str, object], computed_from: int | None) -> None:
    assert REQUEST._replace(**change).computed_from == computed_from  # pyright: ignore[reportArgumentType]


def test_with_gates_a_prompt_is_cached_alike_under_every_state() -> None:
    others = [REQUEST._replace(state=state, key=state.decode()) for state in (b"a", b"b")]

    assert {one.cache_salt("salt") for one in others} == {"salt"}
    assert len({one._replace(gated=False).cache_salt("salt") for one in others}) == 2


def test_a_request_comes_back_from_its_arguments() -> None:
    assert MemoryRequest.of(REQUEST.arguments()) == REQUEST


def test_what_a_request_had_of_a_message_goes_with_its_end() -> None:
    requests = GatedRequests(EMPTY.clone)
    one = requests.of(REQUEST)
    one.pending = Pending([])

    requests.end_others(())

    assert one.pending is None


def test_a_state_is_taken_once_after_the_end() -> None:
    requests = GatedRequests(EMPTY.clone)
    requests.of(REQUEST)
    requests.end_others(())

    taken = requests.take("one")

    assert taken is not None
    assert torch.equal(taken, EMPTY)
    assert requests.take("one") is None

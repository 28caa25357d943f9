"""What a request took is counted once, before its reply is there."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import MemoryUse
from populace.actors.errors import MemoryStateInvalid
from populace.adapters.memory.state import StateFormat
from populace.engines.serving_memory import ServingMemory, starting_state
from populace.engines.work_counter import RequestWork, WorkCounter


def request_at(counter: WorkCounter, *steps_s: float) -> RequestWork:
    """A request that is admitted now, whose calls come so much after one another."""
    moments = accumulate(steps_s, initial=100.0)
    return RequestWork(counter, clock=lambda: next(moments))


def test_the_times_of_a_request_are_from_its_admission_to_its_last_token() -> None:
    counter = WorkCounter()
    request = request_at(counter, 1, 2, 4, 8)

    request.began(7)
    request.advanced(None)
    request.advanced(None)
    request.advanced("stop")

    work = counter.snapshot()
    assert (work.prompt_tokens, work.generation_tokens, work.finished) == (7, 3, {"stop": 1})
    assert (work.queue.sum_s, work.prefill.sum_s, work.first_token.sum_s) == (1, 2, 3)
    assert (work.between_tokens.sum_s, work.between_tokens.total) == (12, 2)
    assert (work.decode.sum_s, work.whole.sum_s, work.per_token.sum_s) == (12, 15, 6)
    assert work.cache is None


def test_a_request_that_fails_ends_with_an_error_and_no_token() -> None:
    counter = WorkCounter()
    request = request_at(counter, 1)

    request.began(7)
    request.failed()

    work = counter.snapshot()
    assert (work.generation_tokens, work.finished, work.whole.total) == (0, {"error": 1}, 0)


def test_memories_that_are_read_are_counted_with_their_bytes_and_those_that_are_not_as_refused() -> None:
    counter, form = WorkCounter(), StateFormat("ab" * 32, layers=1, states=1, rank=4)
    module: Any = None  # only its format is asked
    memory, packed = ServingMemory(module, Path("module"), form), form.pack(form.empty())

    starting_state(memory, MemoryUse(), counter)
    starting_state(memory, MemoryUse(state=packed), counter)
    with pytest.raises(MemoryStateInvalid):
        starting_state(memory, MemoryUse(state=packed[:-1]), counter)

    work = counter.snapshot()
    assert (work.memory_loads, work.memory_loaded_bytes, work.memory_refused) == (1, len(packed), 1)

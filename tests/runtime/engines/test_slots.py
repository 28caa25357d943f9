"""The gate in front of an engine, without an engine. Time is a number that the test sets."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.actors.errors import EngineOverloaded, EngineUnavailable
from populace.engines.slots import AdmissionGate, AdmissionQueue, Ticket


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def entered(queue: AdmissionQueue, key: str | None, now_s: float = 0.0) -> Ticket:
    ticket = Ticket(key, now_s)
    queue.join(ticket)
    assert ticket in queue.admit(now_s)
    return ticket


def waiting(queue: AdmissionQueue, key: str | None, now_s: float = 0.0) -> Ticket:
    ticket = Ticket(key, now_s)
    queue.join(ticket)
    assert ticket not in queue.admit(now_s)
    return ticket


def test_a_request_of_an_adapter_in_flight_passes_one_that_needs_a_slot() -> None:
    queue = AdmissionQueue(places=4, slots=1)
    entered(queue, "a")
    waiting(queue, "b")

    entered(queue, "a", now_s=1.9)


def test_nobody_with_an_adapter_passes_once_the_first_has_waited_its_patience() -> None:
    queue = AdmissionQueue(places=4, slots=1)
    first = entered(queue, "a")
    aged = waiting(queue, "b")
    late = waiting(queue, "a", now_s=2.0)

    queue.leave(first)

    assert queue.admit(2.1) == [aged]
    assert queue.statistics().waiting == 1
    queue.leave(aged)
    assert queue.admit(2.2) == [late]


def test_the_base_needs_no_slot_and_never_waits_for_one() -> None:
    queue = AdmissionQueue(places=4, slots=1)
    entered(queue, "a")
    waiting(queue, "b")

    entered(queue, None, now_s=60.0)


def test_nobody_passes_when_the_places_are_taken() -> None:
    queue = AdmissionQueue(places=1, slots=2)
    first = entered(queue, "a")
    second, third = waiting(queue, "b"), waiting(queue, "a")

    queue.leave(first)

    assert queue.admit(0.0) == [second]
    queue.leave(second)
    assert queue.admit(0.0) == [third]


def test_leaving_twice_is_leaving_once() -> None:
    queue = AdmissionQueue(places=2, slots=1)
    ticket = entered(queue, "a")

    queue.leave(ticket)
    queue.leave(ticket)

    queue.check_integrity()
    assert queue.statistics().running == queue.statistics().adapters_hot == 0


@given(
    keys=st.lists(st.sampled_from([None, "a", "b", "c", "d"]), max_size=40),
    departures=st.lists(st.integers(0, 39), max_size=80),
    slots=st.integers(1, 3),
    places=st.integers(1, 4),
)
def test_limits_hold_and_everyone_enters_in_the_end(
    keys: list[str | None], departures: list[int], slots: int, places: int
) -> None:
    queue = AdmissionQueue(places=places, slots=slots)
    tickets = [Ticket(key, float(index)) for index, key in enumerate(keys)]
    running: list[Ticket] = []
    for index, ticket in enumerate(tickets):
        queue.join(ticket)
        running += queue.admit(float(index))
        queue.check_integrity()
        if running and index < len(departures):
            queue.leave(running.pop(departures[index] % len(running)))

    while running:
        queue.leave(running.pop(0))
        running += queue.admit(1000.0)
        queue.check_integrity()

    assert queue.statistics().waiting == 0


async def test_entering_waits_until_another_leaves() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    second = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([second], timeout=0)
    assert gate.statistics().waiting == 1

    gate.leave(first)

    gate.leave(await second)
    gate.check_integrity()


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    waiter = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([waiter], timeout=0)

    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)

    assert gate.statistics().waiting == 0
    gate.leave(first)
    gate.check_integrity()


async def test_a_waiter_cancelled_in_the_moment_it_is_admitted_gives_the_place_back() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    waiter = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([waiter], timeout=0)

    gate.leave(first)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)

    assert gate.statistics().running == gate.statistics().adapters_hot == 0
    gate.check_integrity()


async def test_one_too_many_waiting_is_refused() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=0, clock=Clock())
    first = await gate.enter("a")

    with pytest.raises(EngineOverloaded):
        await gate.enter("a")

    assert gate.statistics().waiting == 0
    gate.leave(first)


async def test_closing_ends_those_who_wait_and_refuses_those_who_come() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    waiter = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([waiter], timeout=0)

    gate.close("it was closed")

    with pytest.raises(EngineUnavailable):
        await waiter
    with pytest.raises(EngineUnavailable):
        await gate.enter("c")
    gate.leave(first)
    gate.check_integrity()

"""A task's request goes with what it calls, and no further."""

import asyncio

from populace.telemetry.calls import (
    UNKNOWN,
    Caller,
    belongs_to,
    caller_of,
    context_of,
    current_caller,
    current_request_id,
    sent_caller,
    serving,
)

TRACE = bytes.fromhex("00" + "0af7651916cd43dd8448eb211c80319c" + "b7ad6b7169203331" + "01")


async def test_tasks_that_begin_in_a_request_serve_it() -> None:
    async def look() -> str | None:
        return current_request_id()

    with serving(Caller("req_1")):
        inside = asyncio.create_task(look())
    outside = asyncio.create_task(look())

    assert (await inside, await outside) == ("req_1", None)


async def test_a_call_carries_its_request_to_the_task_that_runs_it() -> None:
    with serving(Caller("req_1", TRACE)):
        sent = sent_caller()

    assert context_of(sent).run(current_caller) == Caller("req_1", TRACE)
    assert caller_of(sent) == Caller("req_1", TRACE)
    assert type(sent) is tuple, "another release need not know the class"


def test_outside_of_a_request_a_call_carries_nothing() -> None:
    assert sent_caller() is None
    with serving(Caller("req_1")):
        assert context_of(None).run(current_caller) == UNKNOWN


def test_the_ids_are_those_of_the_traceparent() -> None:
    caller = Caller("req_1", TRACE)

    assert (caller.trace_id, caller.span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (UNKNOWN.trace_id, UNKNOWN.span_id) == (None, None)


def test_the_tenant_goes_with_the_request_from_when_it_is_known_until_its_end() -> None:
    with serving(Caller("req_1", TRACE)):
        belongs_to("a" * 16)
        sent = sent_caller()
    belongs = Caller("req_1", TRACE, "a" * 16)

    assert caller_of(sent) == belongs
    assert current_caller() == UNKNOWN

"""What a request waits for in an engine, and what is asked of one, are spans of its trace."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from populace.actors import span_names as names
from populace.actors.engine import AdapterRef, Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import AdapterInvalid, EngineOverloaded
from populace.actors.owner import Owner
from populace.engines.slots import AdmissionGate, AdmissionQueue
from populace.engines.stages import Stages, record_stages
from populace.engines.traced_engine import TracedEngine
from populace.engines.work_counter import RequestWork, WorkCounter
from populace.telemetry.calls import Caller, current_caller, serving
from populace.telemetry.tracing.spans import TRACER
from tests.runtime.engines.test_adapter_table import Desk
from tests.runtime.gateway.scripted_engine import BASE, ScriptedEngine
from tests.runtime.telemetry.recorded import recording, told, tree
from tests.runtime.telemetry.test_wording import hashed


def request(**changes: object) -> GenerateRequest:
    prompt = (Message("user", "a marked word"),)
    return GenerateRequest("1", prompt, Sampling(max_tokens=9, temperature=0.5), **changes)  # type: ignore


async def test_the_wait_for_a_place_is_a_span_and_a_free_place_is_none() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=1)

    with recording() as spans:
        with serving(Caller("mine")), TRACER.root("request"):
            first = await gate.enter(None)
            waiting = asyncio.ensure_future(gate.enter(None))
            await asyncio.sleep(0)
            with pytest.raises(EngineOverloaded):
                await gate.enter(None)
            gate.leave(first)
            gate.leave(await waiting)
        found = spans()

    assert tree(found) == ["request", f"  {names.ADMISSION_WAIT}"]


async def test_requests_that_wait_for_one_load_have_a_span_each(tmp_path: Path) -> None:
    desk, adapter = Desk(tmp_path), AdapterRef("d" * 64, "10")

    async def wants() -> None:
        with serving(Caller("mine")), TRACER.root("request"):
            await desk.table.ready(adapter)
            await desk.table.ready(adapter)

    with recording() as spans:
        await asyncio.gather(wants(), wants())
        found = spans()
    desk.table.close()

    loads = [told(span) for span in found if span.name == names.ADAPTER_LOAD]
    assert [load[names.SHARED] for load in sorted(loads, key=lambda load: load[names.SHARED])] == [
        False,
        True,
    ]
    assert {load[names.ADAPTER] for load in loads} == {"d" * names.ADAPTER_DIGITS}


async def test_a_load_that_failed_is_a_failed_span_of_all_that_waited_for_it(tmp_path: Path) -> None:
    desk, adapter = Desk(tmp_path), AdapterRef("d" * 64, "10")
    desk.refused.add(adapter.digest)

    async def wants() -> None:
        with serving(Caller("mine")), pytest.raises(AdapterInvalid), TRACER.root("request"):
            await desk.table.ready(adapter)

    with recording(share=0.0) as spans:
        await asyncio.gather(wants(), wants())
        found = spans()
    desk.table.close()

    loads = [told(span) for span in found if span.name == names.ADAPTER_LOAD]
    assert [load.get(names.ERROR_TYPE) for load in loads] == [AdapterInvalid.code] * 2


def test_the_stages_of_a_reply_follow_each_other() -> None:
    moments = iter((100.0, 101.0, 103.0, 107.0))
    work = RequestWork(WorkCounter(), clock=lambda: next(moments))
    work.began(7)
    work.advanced(None)
    work.advanced("stop")

    with recording() as spans:
        with TRACER.root("request"):
            record_stages(work.stages)
        found = spans()

    took = {span.name: ((span.end_time or 0) - (span.start_time or 0)) / 1e9 for span in found}
    assert [round(took[name], 6) for name in (names.QUEUE, names.PREFILL, names.DECODE)] == [1, 2, 4]


def test_a_reply_that_never_began_has_no_stage_but_those_it_reached() -> None:
    with recording() as spans:
        with TRACER.root("request"):
            record_stages(Stages(100.0, 101.0, 0.0, 0.0))
        found = spans()

    assert sorted(span.name for span in found) == [names.QUEUE, "request"]


async def test_a_reply_is_named_by_the_conventions() -> None:
    engine = TracedEngine(ScriptedEngine())
    asked = request(adapter=AdapterRef("e" * 64, ""), owner=Owner("acme", "marked-name"))

    with recording() as spans:
        with TRACER.root("request"):
            async with aclosing(engine.generate(asked)) as deltas:
                texts = [delta.text async for delta in deltas]
        found = spans()

    [chat] = [told(span) for span in found if span.name == f"chat {BASE.name}"]
    assert len(texts) == chat[names.OUTPUT_TOKENS] == 3
    assert chat[names.OPERATION_NAME] == "chat"
    assert (chat[names.PROVIDER_NAME], chat[names.REQUEST_MODEL]) == ("populace", BASE.name)
    assert (chat[names.MAX_TOKENS], chat[names.TEMPERATURE], chat[names.ADAPTER]) == (9, 0.5, "e" * 8)
    assert chat[names.INPUT_TOKENS] > 0
    assert names.SEED not in chat
    assert chat[names.MODEL] == f"{hashed('acme')}/{hashed('marked-name')}"
    assert "marked" not in str(chat)


async def test_a_reader_that_leaves_ends_the_span_and_is_no_error() -> None:
    scripted = ScriptedEngine()
    engine = TracedEngine(scripted)

    with recording() as spans:
        with TRACER.root("request"):
            deltas = engine.generate(request())
            before = current_caller()
            await anext(deltas)
            assert current_caller() == before, "the reader's own spans are not below the engine's"
            await deltas.aclose()
        found = spans()

    assert scripted.running == set()
    [chat] = [told(span) for span in found if span.name == f"chat {BASE.name}"]
    assert (chat[names.FINISHED], chat.get(names.ERROR_TYPE)) == (False, None)


async def test_a_reply_is_read_on_by_another_task() -> None:
    engine = TracedEngine(ScriptedEngine())

    async def next_of(deltas: AsyncGenerator[Delta, None]) -> Delta:
        return await anext(deltas)

    with recording() as spans:
        with TRACER.root("request"):
            deltas = engine.generate(request())
            texts = [(await asyncio.create_task(next_of(deltas))).text for _ in range(3)]
            await asyncio.create_task(deltas.aclose())  # type: ignore
        found = spans()

    assert texts[1:] == [" to", " you"]
    assert tree(found) == ["request", f"  chat {BASE.name}"]


async def test_a_reply_begins_when_it_is_read_and_one_that_is_not_has_no_span() -> None:
    engine = TracedEngine(ScriptedEngine())

    with recording() as spans:
        with TRACER.root("request"):
            unread, deltas = engine.generate(request()), engine.generate(request())
            with TRACER.span("first"):
                pass
            texts = [delta.text async for delta in deltas]
            await unread.aclose()
        found = spans()

    assert texts[1:] == [" to", " you"]
    assert tree(found) == ["request", "  first", f"  chat {BASE.name}"]


async def test_while_tracing_is_off_the_engines_own_generator_is_read() -> None:
    scripted = ScriptedEngine()

    deltas = TracedEngine(scripted).generate(request())

    assert [delta.text async for delta in deltas][1:] == [" to", " you"]
    assert len(scripted.requests) == 1

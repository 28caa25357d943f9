"""As many adapters stay loaded as there are slots; who comes finds room when others end, and in turn."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid, EngineUnavailable
from populace.engines.adapter_table import AdapterTable
from populace.engines.slots import AdmissionGate, AdmissionQueue
from populace.engines.warm_tier import WarmTier
from populace.policies.residency import Residency
from populace.storage.warm_files import WarmFiles, erase
from tests.limits import HANG_SECONDS

SLOTS = 3
BYTES = 100


class Desk:
    """A gate, a table over a real warm tier, and an engine that notes what it is told."""

    def __init__(
        self,
        root: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gate = AdmissionGate(AdmissionQueue(places=16, slots=SLOTS), waiting_max=16)
        self.warm = WarmTier(
            WarmFiles(root),
            Residency(BYTES),
            lambda one: bytes(int(one.path)),
            suffix="test",
            clock=clock,
        )
        self.table = AdapterTable(self._load, self._unload, self.gate, self.warm)
        self.loaded: dict[int, str] = {}
        self.refused: set[str] = set()
        self.root = root
        self.erasures = 0
        """How many of the next images are erased while the engine loads them."""
        self.unloads = asyncio.Event()
        """Set: the engine does what it is told to unload."""
        self.unloads.set()

    async def _load(self, digest: str, number: int, image: Path) -> None:
        if self.erasures:
            self.erasures -= 1
            erase(self.root, digest)
            raise AdapterInvalid("there is no such file")
        assert await asyncio.to_thread(image.exists), "an image left while it was being loaded"
        if digest in self.refused:
            raise AdapterInvalid("it is refused")
        self.loaded[number] = digest

    async def _unload(self, number: int) -> None:
        await self.unloads.wait()
        del self.loaded[number]

    async def use(self, adapter: AdapterRef, end: asyncio.Event | None = None) -> None:
        """What an engine does for a request: enter, load, generate until told to end, leave."""
        ticket = await self.gate.enter(adapter.digest)
        try:
            number = (await self.table.ready(adapter)).number
            assert self.loaded[number] == adapter.digest
            if end is not None:
                await end.wait()
                assert self.loaded[number] == adapter.digest, "an adapter in use was unloaded"
        finally:
            self.gate.leave(ticket)
            self.table.touch(adapter.digest)


def adapter(name: str, size: int = 20) -> AdapterRef:
    return AdapterRef(name * 64, str(size))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    made = Desk(tmp_path / "warm")
    yield made
    made.table.check_integrity()
    made.table.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def hold(desk: Desk, *adapters: AdapterRef) -> tuple[list[asyncio.Task[None]], list[asyncio.Event]]:
    """Begin to use the adapters, until their events are set; they are loaded when this returns."""
    ends = [asyncio.Event() for _ in adapters]
    held = [asyncio.create_task(desk.use(one, end)) for one, end in zip(adapters, ends, strict=True)]
    await until(lambda: {one.digest for one in adapters} <= set(desk.loaded.values()))
    return held, ends


async def wait_in_line(desk: Desk, *adapters: AdapterRef) -> list[asyncio.Task[None]]:
    """Begin to use adapters for which there is no room; they wait for it when this returns."""
    waiting = [asyncio.create_task(desk.use(one)) for one in adapters]
    await until(lambda: desk.table.waiting == len(adapters))
    return waiting


async def test_the_one_used_longest_ago_is_unloaded_in_the_engine(desk: Desk) -> None:
    for name in "abca":
        await desk.use(adapter(name))
    await desk.use(adapter("d"))

    assert sorted(name[0] for name in desk.loaded.values()) == ["a", "c", "d"]


async def test_what_is_held_is_told_and_first_what_stays_longest(desk: Desk) -> None:
    for name in "abcda":
        await desk.use(adapter(name))

    held = desk.table.held()

    assert [digest[0] for digest in held.hot] == ["a", "d", "c"]
    assert [digest[0] for digest in held.warm] == ["a", "d", "c", "b"]


async def test_what_is_used_in_the_engine_is_used_in_host_memory(desk: Desk) -> None:
    for name in "aba":
        await desk.use(adapter(name))

    assert [digest[0] for digest in desk.table.held().warm] == ["a", "b"]


async def test_one_that_is_loaded_already_is_not_loaded_again(desk: Desk) -> None:
    for name in "abab":
        await desk.use(adapter(name))

    assert list(desk.loaded) == [1, 2]


async def test_hits_loads_and_evictions_are_counted_with_their_bytes(desk: Desk) -> None:
    for name in "abacd":
        await desk.use(adapter(name))

    counted = desk.table.statistics()
    assert counted.load.total == counted.loads

    assert (counted.hits, counted.loads, counted.evictions) == (1, 4, 1)
    assert (counted.adapters, counted.bytes, counted.loaded_bytes) == (3, 60, 80)


async def test_numbers_are_new_each_time(desk: Desk) -> None:
    for name in "abcdeabc":
        await desk.use(adapter(name))

    assert len(desk.loaded) == SLOTS
    assert min(desk.loaded) > 5


async def test_who_finds_no_room_waits_until_somebody_ends(desk: Desk) -> None:
    held, ends = await hold(desk, adapter("a", 50), adapter("b", 50))
    [waiting] = await wait_in_line(desk, adapter("c", 50))

    ends[0].set()

    await waiting
    ends[1].set()
    await asyncio.gather(*held)


async def test_idle_adapters_give_their_room_without_anybody_ending(desk: Desk) -> None:
    for name in "ab":
        await desk.use(adapter(name, 50))

    await desk.use(adapter("c", 90))

    assert [name[0] for name in desk.loaded.values()] == ["c"]


async def test_who_needs_the_room_of_one_that_is_being_unloaded_waits_for_that_alone(desk: Desk) -> None:
    for name in "abc":
        await desk.use(adapter(name, 33))
    desk.unloads.clear()
    [coming] = await wait_in_line(desk, adapter("d", 33))
    await until(lambda: desk.warm.statistics().loads == 5)  # its image was made twice, and had no room twice
    for _ in range(10):  # turns of the loop, in which it might unload more
        await asyncio.sleep(0)
    desk.unloads.set()
    await coming

    assert sorted(name[0] for name in desk.loaded.values()) == ["b", "c", "d"]


async def test_one_is_loaded_while_another_is_still_being_unloaded(desk: Desk) -> None:
    for name in "abc":
        await desk.use(adapter(name))
    desk.unloads.clear()
    coming = asyncio.create_task(desk.use(adapter("d")))

    await until(lambda: len(desk.loaded) == SLOTS + 1)

    desk.unloads.set()
    await coming
    assert sorted(name[0] for name in desk.loaded.values()) == ["b", "c", "d"]


async def test_a_small_one_does_not_pass_a_large_one_that_waits(desk: Desk) -> None:
    held, [end] = await hold(desk, adapter("a", 90))
    waiting = await wait_in_line(desk, adapter("c", 90))
    waiting.append(asyncio.create_task(desk.use(adapter("d", 5))))
    # There is room for it, and still it waits. Who of both is loaded first then is for two threads to tell.
    await until(lambda: desk.table.waiting == 2)

    end.set()
    await asyncio.gather(*held, *waiting)

    assert sorted(name[0] for name in desk.loaded.values()) == ["c", "d"]


async def test_who_gave_up_waiting_does_not_keep_others_from_the_room(desk: Desk) -> None:
    held, [end] = await hold(desk, adapter("a", 90))
    given_up = await wait_in_line(desk, adapter("b", 90), adapter("c", 90))
    for one in given_up:
        one.cancel()
    end.set()
    await asyncio.gather(*held)

    async with asyncio.timeout(HANG_SECONDS):
        await desk.use(adapter("d", 90))
        await desk.use(adapter("a", 90))


async def test_one_that_the_engine_refuses_holds_nothing_and_is_tried_again(desk: Desk) -> None:
    desk.refused.add("a" * 64)
    with pytest.raises(AdapterInvalid):
        await desk.use(adapter("a", 90))

    await desk.use(adapter("b", 90))
    desk.refused.clear()
    await desk.use(adapter("a", 90))

    assert [name[0] for name in desk.loaded.values()] == ["a"]


async def test_the_image_of_who_waits_for_a_place_is_made_meanwhile(desk: Desk) -> None:
    held, ends = await hold(desk, *(adapter(name, 10) for name in "abc"))
    assert not desk.gate.has_room("d" * 64)
    desk.table.stage(adapter("d", 10))
    waiting = asyncio.create_task(desk.use(adapter("d", 10)))

    await until(lambda: desk.warm.statistics().loads == 4)
    assert len(desk.loaded) == SLOTS

    for end in ends:
        end.set()
    await asyncio.gather(*held, waiting)
    assert (desk.warm.statistics().loads, desk.warm.statistics().hits) == (4, 1)


async def test_what_cannot_be_staged_is_told_to_its_request_alone(desk: Desk) -> None:
    for broken in (adapter("a", BYTES + 1), AdapterRef("b" * 64, "no number")):
        desk.table.stage(broken)
    held, [end] = await hold(desk, adapter("c", BYTES))
    desk.table.stage(adapter("d", 10))

    await until(lambda: not desk.table._stagings)

    with pytest.raises(AdapterInvalid):
        await desk.use(adapter("a", BYTES + 1))
    end.set()
    await asyncio.gather(*held)
    await desk.use(adapter("d", 10))


async def test_what_is_prepared_is_found_in_memory_and_takes_no_slot(desk: Desk) -> None:
    await asyncio.gather(*(desk.table.prepare(adapter(name)) for name in "abcd"))
    assert desk.loaded == {}

    for name in "abcd":
        await desk.use(adapter(name))

    assert (desk.warm.statistics().loads, desk.warm.statistics().hits) == (4, 4)


async def test_a_successor_takes_the_slot_of_its_predecessor(desk: Desk) -> None:
    for name in "abc":
        await desk.use(adapter(name))

    await desk.table.prepare(adapter("d"), replaces=adapter("b"))

    assert [name[0] for name in desk.loaded.values()] == ["a", "c", "d"]
    loads = desk.table.statistics().loads
    await desk.use(adapter("d"))
    assert (desk.table.statistics().loads, desk.table.statistics().hits) == (loads, 1)
    assert desk.gate.statistics().running == desk.table.places == 0


async def test_a_successor_takes_no_slot_of_those_in_use(desk: Desk) -> None:
    held, ends = await hold(desk, *(adapter(name) for name in "abc"))

    await desk.table.prepare(adapter("d"), replaces=adapter("b"))

    assert sorted(name[0] for name in desk.loaded.values()) == ["a", "b", "c"]
    ends[0].set()
    await asyncio.gather(held[0])
    await desk.table.prepare(adapter("d"), replaces=adapter("b"))
    assert sorted(name[0] for name in desk.loaded.values()) == ["b", "c", "d"]
    for end in ends:
        end.set()
    await asyncio.gather(*held)


async def test_who_replaces_one_that_is_not_loaded_takes_no_slot(desk: Desk) -> None:
    await desk.use(adapter("a"))

    await desk.table.prepare(adapter("d"), replaces=adapter("b"))

    assert [name[0] for name in desk.loaded.values()] == ["a"]


async def test_a_successor_that_the_engine_refuses_leaves_everything_as_it_was(desk: Desk) -> None:
    await desk.use(adapter("a"))
    desk.refused.add("d" * 64)

    with pytest.raises(AdapterInvalid):
        await desk.table.prepare(adapter("d"), replaces=adapter("a"))

    assert [name[0] for name in desk.loaded.values()] == ["a"]
    assert desk.gate.statistics().running == desk.table.places == 0


async def test_what_is_prepared_waits_for_room_and_lets_it_go_again(desk: Desk) -> None:
    held, [end] = await hold(desk, adapter("a", 90))
    preparing = asyncio.create_task(desk.table.prepare(adapter("b", 90)))
    await until(lambda: desk.table.waiting == 1)

    end.set()
    await asyncio.gather(*held, preparing)

    await desk.use(adapter("c", 90))


async def test_an_image_that_is_erased_while_it_is_loaded_is_made_anew(desk: Desk) -> None:
    desk.erasures = 2

    await desk.use(adapter("a"))

    assert [name[0] for name in desk.loaded.values()] == ["a"]
    assert desk.warm.statistics().loads == 3


async def test_an_image_that_is_erased_each_time_is_an_error_by_name(desk: Desk) -> None:
    desk.erasures = 3

    with pytest.raises(EngineUnavailable, match="erased"):
        await desk.use(adapter("a"))

    await desk.use(adapter("a"))


async def test_what_is_forgotten_is_unloaded_and_its_image_goes(desk: Desk) -> None:
    for name in "ab":
        await desk.use(adapter(name))

    await desk.table.forget("a" * 64)
    await desk.table.forget("c" * 64)

    assert [name[0] for name in desk.loaded.values()] == ["b"]
    assert desk.warm.digests() == ("b" * 64,)
    assert [path.name[0] for path in desk.root.iterdir() if path.is_file()] == ["b"]


async def test_what_is_in_use_is_not_forgotten(desk: Desk) -> None:
    held, [end] = await hold(desk, adapter("a"))

    await desk.table.forget("a" * 64)

    assert [name[0] for name in desk.loaded.values()] == ["a"]
    end.set()
    await asyncio.gather(*held)
    assert desk.warm.digests() == ("a" * 64,)


async def test_closing_ends_who_prepares_by_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "warm")
    held, [end] = await hold(desk, adapter("a", 90))
    preparing = [asyncio.create_task(desk.table.prepare(adapter(name, 90))) for name in "bc"]
    await until(lambda: desk.table.waiting == 1)

    desk.table.close()

    for outcome in await asyncio.gather(*preparing, return_exceptions=True):
        assert isinstance(outcome, EngineUnavailable)
    end.set()
    await asyncio.gather(*held)


async def test_closing_while_an_image_turns_out_too_many_ends_who_prepares(tmp_path: Path) -> None:
    def clock() -> float:  # asked when an image is made and room is looked for
        if desk.table.waiting:
            # Before the waiter learns that there is none.
            asyncio.get_running_loop().call_soon(desk.table.close)
        return time.monotonic()

    desk = Desk(tmp_path / "warm", clock=clock)
    held, [end] = await hold(desk, adapter("a", 90))

    async with asyncio.timeout(HANG_SECONDS):
        with pytest.raises(EngineUnavailable):
            await desk.table.prepare(adapter("b", 90))
    end.set()
    await asyncio.gather(*held)


async def test_closing_ends_who_waits_by_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "warm")
    held, [end] = await hold(desk, adapter("a", 90))
    [waiting] = await wait_in_line(desk, adapter("b", 90))

    desk.table.close()

    with pytest.raises(EngineUnavailable):
        await waiting
    end.set()
    await asyncio.gather(*held)

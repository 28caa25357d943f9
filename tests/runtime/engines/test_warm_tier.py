"""An image is made once, stays while held, and gives way within the budget; what fails leaves nothing."""

import asyncio
import threading
from pathlib import Path

import pytest

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid, EngineOverloaded, EngineUnavailable
from populace.engines.warm_tier import LOADS_MAX, WarmTier
from populace.policies.residency import Residency
from populace.storage.warm_files import WarmFiles, erase
from tests.limits import HANG_SECONDS

BYTES = 100


class Maker:
    """Makes images of as many bytes as an adapter's path says, and counts; ``open`` lets it go on."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.side_by_side = 0
        self.most = 0
        self.open = threading.Event()
        self.open.set()

    def __call__(self, adapter: AdapterRef) -> bytes:
        self.side_by_side += 1
        self.most = max(self.most, self.side_by_side)
        assert self.open.wait(HANG_SECONDS)
        self.made.append(adapter.digest)
        self.side_by_side -= 1
        if adapter.path == "broken":
            raise AdapterInvalid("it is broken")
        return adapter.digest[0].encode() * int(adapter.path)


def adapter(name: str, size: int | str = 40) -> AdapterRef:
    return AdapterRef(name * 64, str(size))


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
async def tier(tmp_path: Path, make: Maker):  # type: ignore[no-untyped-def]
    made = new_tier(tmp_path, make)
    yield made
    made.check_integrity()
    made.close()


def new_tier(tmp_path: Path, make: Maker, bytes_max: int = BYTES) -> WarmTier:
    return WarmTier(WarmFiles(tmp_path / "warm"), Residency(bytes_max), make, suffix="test")


async def test_those_who_ask_at_once_share_one_image_and_later_ones_find_it(
    tier: WarmTier, make: Maker
) -> None:
    leases = await asyncio.gather(*(tier.lease(adapter("a")) for _ in range(5)))
    again = await tier.lease(adapter("a"))

    assert make.made == ["a" * 64]
    assert {lease.path.read_bytes() for lease in (*leases, again)} == {b"a" * 40}
    statistics = tier.statistics()
    assert statistics.load.total == statistics.loads
    assert (statistics.hits, statistics.loads, statistics.loaded_bytes) == (1, 1, 40)
    assert (statistics.adapters, statistics.bytes, statistics.bytes_max) == (1, 40, BYTES)


async def test_what_is_held_stays_and_what_was_released_gives_way(tier: WarmTier) -> None:
    first = await tier.lease(adapter("a"))
    second = await tier.lease(adapter("b"))
    second.release()
    second.release()

    third = await tier.lease(adapter("c"))

    assert first.path.exists()
    assert third.path.exists()
    assert not second.path.exists()
    assert tier.statistics().evictions == 1


async def test_if_everything_is_held_who_comes_is_refused_and_served_later(tier: WarmTier) -> None:
    held = [await tier.lease(adapter(name)) for name in "ab"]

    with pytest.raises(EngineOverloaded):
        await tier.lease(adapter("c"))

    held[0].release()
    assert (await tier.lease(adapter("c"))).path.read_bytes() == b"c" * 40


async def test_an_image_larger_than_the_tier_is_refused_by_name(tier: WarmTier) -> None:
    with pytest.raises(AdapterInvalid, match="more than warm_bytes_max of 100"):
        await tier.lease(adapter("a", BYTES + 1))

    assert tier.statistics().bytes == 0


async def test_a_broken_adapter_fails_for_all_who_asked_and_is_tried_again(
    tier: WarmTier, make: Maker
) -> None:
    broken = adapter("a", "broken")

    failed = await asyncio.gather(*(tier.lease(broken) for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in failed] == [AdapterInvalid] * 3
    assert make.made == ["a" * 64]
    assert (await tier.lease(adapter("a"))).path.exists()


async def test_who_gives_up_does_not_take_the_image_from_others(tier: WarmTier, make: Maker) -> None:
    make.open.clear()
    first, second = (asyncio.create_task(tier.lease(adapter("a"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    make.open.set()

    assert (await second).path.exists()
    assert first.cancelled() or isinstance(first.exception(), asyncio.CancelledError)


async def test_an_image_that_was_erased_is_made_again_for_who_asks(
    tmp_path: Path, tier: WarmTier, make: Maker
) -> None:
    held = await tier.lease(adapter("a"))
    erase(tmp_path / "warm", "a" * 64)

    again = await tier.lease(adapter("a"))

    assert make.made == ["a" * 64] * 2
    assert again.path.read_bytes() == b"a" * 40
    assert tier.statistics().bytes == 40
    held.release()


async def test_few_images_are_made_at_once(tmp_path: Path, make: Maker) -> None:
    tier = new_tier(tmp_path, make, bytes_max=1000)

    await asyncio.gather(*(tier.lease(adapter(name)) for name in "abcdefgh"))

    assert make.most <= LOADS_MAX
    tier.close()


async def test_two_engines_of_a_machine_share_the_bytes(tmp_path: Path, make: Maker) -> None:
    first, second = new_tier(tmp_path, make), new_tier(tmp_path, make)

    one, other = await first.lease(adapter("a")), await second.lease(adapter("a"))

    assert make.made == ["a" * 64]
    assert one.path.samefile(other.path)
    first.close()
    assert other.path.read_bytes() == b"a" * 40
    second.close()
    assert [path for path in (tmp_path / "warm").iterdir() if path.is_file()] == []


async def test_closing_ends_those_who_wait_by_name(tmp_path: Path, make: Maker) -> None:
    tier = new_tier(tmp_path, make)
    make.open.clear()
    waiting = asyncio.create_task(tier.lease(adapter("a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    tier.close()
    make.open.set()

    with pytest.raises(EngineUnavailable, match="closed"):
        await waiting

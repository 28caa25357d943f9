"""Each identity has the adapter that is its own, and the audit notices one that has not."""

from pathlib import Path

from populace.actors.hosts import Revision
from populace.adapters.base_modules import BaseModules, LinearShape
from populace.storage.store import Store
from scripts.bench.catalogue import (
    CatalogueBench,
    _compare,
    _create,
    _Figures,
    _is_wrong,
    _of_distinct_adapters,
    _write_adapters,
)
from scripts.bench.one_host import model
from tests.actors.fakes import FakeClock
from tests.actors.populations import local_directory, local_hosts

BENCH = CatalogueBench(n=40, adapters=7, asks=5)
BASE = BaseModules({f"layers.{layer}.q_proj": LinearShape(32, 16) for layer in range(2)}, "b" * 64)


async def test_the_audit_finds_what_is_not_as_it_was_built(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", 4)
    hosts = local_hosts(store, FakeClock())
    directory, files = local_directory(hosts, store), store.revisions
    digests, size = _write_adapters(BENCH, BASE, files, lambda step, part: None)
    for identity in range(BENCH.n):
        await _create(directory, BENCH, digests, BASE.fingerprint or "", identity)

    async def wrong() -> list[int]:
        return [
            identity
            for identity in range(BENCH.n)
            if await _is_wrong(BENCH, directory, files, BASE, digests, identity)
        ]

    assert len(set(digests)) == BENCH.adapters
    assert files.path(digests[0]).stat().st_size == size
    assert await wrong() == []

    other = digests[(BENCH.adapter_of(3) + 1) % BENCH.adapters]
    await directory.publish_revision(model(3), Revision(other, "b" * 64, "imported", None, 1, 0, 0))
    damaged = files.path(digests[BENCH.adapter_of(5)])
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)

    assert await wrong() == sorted({3, *range(5, BENCH.n, BENCH.adapters)})
    for host in hosts:
        host.close()


def test_who_is_asked_has_an_adapter_that_nobody_else_has() -> None:
    import random

    asked = _of_distinct_adapters(BENCH, random.Random(1))

    assert len(asked) == len({BENCH.adapter_of(identity) for identity in asked}) == BENCH.asks


def test_growth_is_of_the_large_catalogue_over_the_small() -> None:
    bench = CatalogueBench()
    small = _Figures(*(float(number) for number in range(1, 12)))  # type: ignore[arg-type]
    large = small._replace(look_up=small.look_up * 2, wrong=0)

    result = _compare(bench, {bench.smaller().n: small, bench.n: large})

    assert (bench.smaller().n, bench.smaller().adapters) == (10_000, 100)
    assert {aim.name: aim.value for aim in result.aims}["look up"] == 2.0
    assert [aim.name for aim in result.aims if not aim.met] == ["look up"]

"""The adapter of an erased model leaves the disk, unless another model anywhere has the same one."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from populace.policies.placement import shard_of
from populace.storage.records import erasures
from populace.storage.records.errors import ModelExists, ModelNotFound
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import BASE, FakeClock
from tests.limits import HANG_SECONDS
from tests.storage.adapters import packed
from tests.storage.processes import line_of, running

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")

NEIGHBOUR = """
import sys
from functools import partial
from pathlib import Path
from populace.storage.rows import ledger
from populace.storage.records.records import RevisionRecord
from populace.storage.store import Store
from tests.storage.samples import create_model, identity, revision

store = Store.open(Path(sys.argv[1]))
shard = store.open_shard(int(sys.argv[2]), "another process")
had = revision().model_copy(update={"digest": sys.argv[3]})
shard.write([lambda txn: create_model(txn, identity(sys.argv[4]), had, sealing=store.sealing)])
print("there", flush=True)
sys.stdin.readline()
shard.close()
"""


@pytest.fixture
def digest(store: Store) -> str:
    with store.revisions.adding():
        return store.revisions.add(packed("planted"))[0]


def revision_of(digest: str) -> Revision:
    return Revision(
        digest=digest,
        base=BASE.fingerprint,
        method="imported",
        parent=None,
        rank=8,
        adapter_bytes=42,
        created_ms=1,
    )


def orphans(host: ModelHost) -> list[str]:
    found: list[str] = []
    for number in host._owned.numbers:
        with host._owned.read(number) as txn:
            found += erasures.read_orphans(txn)
    return found


@contextmanager
def neighbour(store: Store, number: int, digest: str) -> Generator[None]:
    """Let another process own a shard in which a model has the adapter."""
    with running(NEIGHBOUR, store.path, number, digest, "carl") as process:
        assert line_of(process) == "there"
        yield
        process.communicate(b"\n", timeout=HANG_SECONDS)


async def test_the_adapter_goes_with_the_last_model_that_has_it(
    host: ModelHost, store: Store, digest: str
) -> None:
    for model in (ADA, BEN):
        await host.create_model(model, revision_of(digest))

    await host.erase_model(ADA)
    assert await host.sweep_adapters() == 0
    assert store.revisions.has(digest)
    assert orphans(host) == []

    await host.erase_model(BEN)
    assert await host.sweep_adapters() == 1
    assert not store.revisions.has(digest)
    assert [path for path in store.revisions.root.iterdir() if path.name != ".lock"] == []
    assert orphans(host) == []
    assert await host.sweep_adapters() == 0


async def test_a_model_of_another_process_keeps_the_adapter(
    store: Store, clock: FakeClock, digest: str
) -> None:
    mine = shard_of(*ADA, store.shards)
    other = next(number for number in range(store.shards) if number != mine)
    own = [number for number in range(store.shards) if number != other]
    host = ModelHost("host", store, own, base=BASE.fingerprint, clock=clock)
    await host.create_model(ADA, revision_of(digest))
    with neighbour(store, other, digest):
        await host.erase_model(ADA)

        assert await host.sweep_adapters() == 0

    assert store.revisions.has(digest)
    assert orphans(host) == []
    host.close()


async def test_nothing_is_removed_while_somebody_adds_an_adapter(
    host: ModelHost, store: Store, digest: str
) -> None:
    await host.create_model(ADA, revision_of(digest))
    await host.erase_model(ADA)

    with store.revisions.adding():
        assert await host.sweep_adapters() == 0
        assert store.revisions.has(digest)
        # Ben gets the adapter that nobody has, just before it would have gone.
        await host.create_model(BEN, revision_of(digest))

    assert await host.sweep_adapters() == 0
    assert store.revisions.has(digest)


async def test_what_another_host_of_this_process_owns_is_not_guessed(
    store: Store, clock: FakeClock, digest: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine = shard_of(*ADA, store.shards)
    host = ModelHost("one", store, [mine], base=BASE.fingerprint, clock=clock)
    others = [number for number in range(store.shards) if number != mine]
    other = ModelHost("other", store, others, base=BASE.fingerprint, clock=clock)
    await host.create_model(ADA, revision_of(digest))
    await host.erase_model(ADA)

    assert await host.sweep_adapters() == 0

    assert store.revisions.has(digest)
    assert orphans(host) == [digest]
    assert "stay for the next sweep" in caplog.text
    other.close()
    assert await host.sweep_adapters() == 1
    host.close()


async def test_a_sweep_is_taken_up_after_a_crash(make_host: MakeHost, store: Store, digest: str) -> None:
    host = make_host()
    await host.create_model(ADA, revision_of(digest))
    await host.erase_model(ADA)
    host.close()
    (store.revisions.root / ".incoming-left").mkdir()

    assert await make_host().sweep_adapters() == 1

    assert not store.revisions.has(digest)
    assert not (store.revisions.root / ".incoming-left").exists()


async def test_an_adapter_that_was_stored_for_a_model_which_does_not_get_it_is_swept(
    host: ModelHost, store: Store, digest: str
) -> None:
    await host.create_model(BEN)
    with pytest.raises(ModelNotFound):
        await host.publish_revision(ADA, revision_of(digest))
    with pytest.raises(ModelExists):
        await host.create_model(BEN, revision_of(digest))

    assert await host.sweep_adapters() == 1
    assert not store.revisions.has(digest)


async def test_an_adapter_that_another_call_brought_is_not_swept(
    host: ModelHost, store: Store, digest: str
) -> None:
    with pytest.raises(ModelNotFound):
        await host.publish_revision(ADA, revision_of(digest))
    await host.create_model(ADA, revision_of(digest))

    assert await host.sweep_adapters() == 0
    assert store.revisions.has(digest)

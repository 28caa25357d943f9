"""The adapter of an erased model leaves the disk, unless another model anywhere has the same one."""

import pytest

from populace.actors.errors import EngineUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from populace.policies.placement import shard_of
from populace.storage.records import erasures
from populace.storage.records.errors import ArchiveInvalid, ModelExists, ModelNotFound, ShardStopped
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import wait_until
from tests.storage.adapters import packed

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")


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


def two_hosts(store: Store, clock: FakeClock) -> tuple[ModelHost, ModelHost]:
    """The host of Ada, and that of all other shards."""
    mine = shard_of(*ADA, store.shards)
    others = [number for number in range(store.shards) if number != mine]
    other = ModelHost("other", store, others, base=BASE.fingerprint, clock=clock)
    asked = other.adapters_in_use
    one = ModelHost("one", store, [mine], base=BASE.fingerprint, clock=clock, used_elsewhere=asked)
    return one, other


def model_in(host: ModelHost, store: Store) -> ModelId:
    names = (f"ben-{number}" for number in range(1000))
    return next(
        ModelId("acme", name) for name in names if shard_of("acme", name, store.shards) in host._owned.numbers
    )


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


@pytest.mark.parametrize("has_it", [True, False])
async def test_a_model_of_another_host_keeps_the_adapter(
    store: Store, clock: FakeClock, digest: str, has_it: bool
) -> None:
    one, other = two_hosts(store, clock)
    await one.create_model(ADA, revision_of(digest))
    if has_it:
        await other.create_model(model_in(other, store), revision_of(digest))
    await one.erase_model(ADA)

    assert await one.sweep_adapters() == (not has_it)

    assert store.revisions.has(digest) == has_it
    assert orphans(one) == []
    one.close()
    other.close()


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


async def test_what_a_host_that_does_not_answer_has_is_not_guessed(
    store: Store,
    clock: FakeClock,
    digest: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = two_hosts(store, clock)
    await one.create_model(ADA, revision_of(digest))
    await one.erase_model(ADA)
    [first, *_] = other._owned.numbers
    shard = other._owned._open[first]
    recover = other._owned._absent.recover

    def stay_away(_number: int) -> None:
        return

    with monkeypatch.context() as patched:
        patched.setattr(other._owned._absent, "recover", stay_away)
        other._owned._lose(first, shard, ShardStopped(first, "the test"))

    assert await one.sweep_adapters() == 0

    assert store.revisions.has(digest)
    assert orphans(one) == [digest]
    assert "stay for the next sweep" in caplog.text
    recover(first)

    async def is_swept() -> bool:
        return await one.sweep_adapters() == 1

    await wait_until(is_swept)
    assert not store.revisions.has(digest)
    one.close()
    other.close()


async def test_a_host_that_knows_of_no_others_removes_nothing_that_they_may_have(
    store: Store, clock: FakeClock, digest: str
) -> None:
    mine = shard_of(*ADA, store.shards)
    host = ModelHost("host", store, [mine], base=BASE.fingerprint, clock=clock)
    await host.create_model(ADA, revision_of(digest))
    await host.erase_model(ADA)

    assert await host.sweep_adapters() == 0

    assert store.revisions.has(digest)
    assert orphans(host) == [digest]
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


@pytest.mark.parametrize("base", [BASE.fingerprint, "another"])
async def test_an_adapter_that_was_stored_for_an_import_which_is_refused_is_swept(
    host: ModelHost, store: Store, digest: str, base: str
) -> None:
    await host.create_model(ADA, revision_of(digest))
    content = await host.export_model(ADA)
    await host.erase_model(ADA)
    assert await host.sweep_adapters() == 1
    with store.revisions.adding():
        assert store.revisions.add(packed("planted"))[0] == digest
        await host.create_model(BEN)
        with pytest.raises(ModelExists if base == BASE.fingerprint else ArchiveInvalid):
            await host.import_model(BEN, content._replace(base=base))

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


class Nodes:
    """The nodes of the engines: what they erased, and why they do not erase anything now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refusal: Exception | None = None
        self.erased: list[str] = []

    async def erase(self, digests: frozenset[str]) -> None:
        assert not any(self._store.revisions.has(digest) for digest in digests), "an engine may load it anew"
        with self._store.revisions.adding():
            """Adapters can be added meanwhile."""
        if self.refusal is not None:
            raise self.refusal
        self.erased += sorted(digests)


@pytest.mark.parametrize("refusal", [EngineUnavailable("a replica restarts"), TimeoutError()])
async def test_an_adapter_that_a_node_still_has_is_asked_for_again(
    store: Store, clock: FakeClock, digest: str, refusal: Exception
) -> None:
    nodes = Nodes(store)
    shards = range(store.shards)
    host = ModelHost("host", store, shards, base=BASE.fingerprint, clock=clock, erase_from_nodes=nodes.erase)
    await host.create_model(ADA, revision_of(digest))
    assert await host.sweep_adapters() == 0
    await host.erase_model(ADA)
    nodes.refusal = refusal

    assert await host.sweep_adapters() == 0
    assert not store.revisions.has(digest)
    assert orphans(host) == [digest]

    nodes.refusal = None
    assert await host.sweep_adapters() == 1
    assert nodes.erased == [digest]
    assert orphans(host) == []
    host.close()


async def test_what_a_model_got_again_meanwhile_is_not_erased_from_the_nodes(
    store: Store, clock: FakeClock, digest: str
) -> None:
    nodes = Nodes(store)
    shards = range(store.shards)
    host = ModelHost("host", store, shards, base=BASE.fingerprint, clock=clock, erase_from_nodes=nodes.erase)
    await host.create_model(ADA, revision_of(digest))
    await host.erase_model(ADA)
    nodes.refusal = EngineUnavailable("a replica restarts")
    await host.sweep_adapters()
    nodes.refusal = None
    with store.revisions.adding():
        store.revisions.add(packed("planted"))
        await host.create_model(BEN, revision_of(digest))

    assert await host.sweep_adapters() == 0

    assert store.revisions.has(digest)
    assert nodes.erased == []
    assert orphans(host) == []
    host.close()


async def test_what_no_model_ever_got_goes_with_the_next_start(
    make_host: MakeHost, store: Store, digest: str
) -> None:
    """A process was killed between the file and the row that would name it, and another while it wrote."""
    host = make_host()
    host.close()
    unfinished = store.revisions.root / ".incoming-killed"
    unfinished.write_bytes(b"half")

    host = make_host()

    assert await host.sweep_adapters() == 1
    assert not store.revisions.has(digest)
    assert not unfinished.exists()

"""An adapter that a node lacks comes from a host, once for all who ask, and is what its digest says."""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid, EngineUnavailable
from populace.hosting.shared_files import THREADS, SharedFiles, SharedPaths
from populace.node_files import pieces
from populace.node_files.adapters import NodeAdapters
from populace.node_files.fetching import ROUNDS_MAX, Fetching
from populace.node_files.pieces import SharedFile, Wanted
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE, RevisionFiles, adapter_digest
from populace.storage.warm_files import USERS, WarmFiles, erase
from tests.limits import HANG_SECONDS
from tests.runtime.node_files.file_hosts import (
    BASE,
    FindingHost,
    LocalFileHost,
    away,
    away_after,
    away_until,
    shared,
)
from tests.storage.adapters import packed

PIECE_BYTES = 1000
SIZE = 5 * PIECE_BYTES

pytestmark = pytest.mark.usefixtures("small_pieces")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)


@pytest.fixture
def revisions(tmp_path: Path) -> RevisionFiles:
    return RevisionFiles(tmp_path / "store" / "revisions")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "warm"


@pytest.fixture
def node(root: Path) -> Generator[Callable[..., NodeAdapters]]:
    """Makes the adapters of a node that asks these hosts. In the end it has nothing of them."""
    made: list[NodeAdapters] = []

    def make(*hosts: LocalFileHost) -> NodeAdapters:
        made.append(NodeAdapters(Fetching(hosts, sleep=lambda _: None), WarmFiles(root)))
        return made[-1]

    yield make
    for adapters in made:
        assert files_in(root) == []
        adapters.close()


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.name != ".lock"]


def ref(digest: str, path: str = "/not/here") -> AdapterRef:
    return AdapterRef(digest, path)


def host(revisions: RevisionFiles, **options: object) -> LocalFileHost:
    return LocalFileHost(shared(revisions.root), **options)  # type: ignore[arg-type]


def read(adapters: NodeAdapters, adapter: AdapterRef) -> dict[str, bytes]:
    """The files of an adapter while it is open, by name; a packed one's name is left out."""
    with adapters.opened(adapter) as path:
        if path.is_dir():
            return {file.name: file.read_bytes() for file in path.iterdir()}
        return {"": path.read_bytes()}


def test_a_packed_adapter_comes_in_pieces_and_goes_when_it_was_read(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    content = packed(bytes_min=SIZE)
    digest, size = revisions.add(content)
    asked = host(revisions)
    adapters = node(asked)

    assert read(adapters, ref(digest)) == {"": bytes(content)}
    assert asked.pieces == -(-size // PIECE_BYTES)
    assert not adapters.is_open(digest)


def test_a_directory_of_schema_3_comes_with_both_files(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add_directory(b"{}", b"tensors" * SIZE)

    found = read(node(host(revisions)), ref(digest))

    assert found == {CONFIG_FILE: b"{}", TENSORS_FILE: b"tensors" * SIZE}


def test_a_candidate_that_is_only_passing_through_the_store_is_found_too(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    content = packed("candidate")
    adapters = node(host(revisions))
    with revisions.passing(content) as (digest, _):
        assert read(adapters, ref(digest)) == {"": bytes(content)}

    with pytest.raises(AdapterInvalid):
        read(adapters, ref(digest))


def test_what_is_on_this_node_is_read_there(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed())
    asked = host(revisions)

    with node(asked).opened(ref(digest, str(revisions.path(digest)))) as path:
        assert path == revisions.path(digest)
    assert asked.lists == 0


def test_those_who_ask_at_once_share_one_transfer(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    content = packed(bytes_min=SIZE)
    digest, size = revisions.add(content)
    asked, all_there = host(revisions), threading.Barrier(4)
    adapters = node(asked)

    def use() -> bytes:
        with adapters.opened(ref(digest)) as path:
            all_there.wait(HANG_SECONDS)
            return path.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        read = [future.result() for future in [pool.submit(use) for _ in range(4)]]

    assert read == [bytes(content)] * 4
    assert (asked.lists, asked.pieces) == (1, -(-size // PIECE_BYTES))


def test_another_host_has_what_the_first_lacks(
    revisions: RevisionFiles, tmp_path: Path, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed())

    assert read(node(host(RevisionFiles(tmp_path / "empty")), host(revisions)), ref(digest))


def test_a_host_that_is_killed_in_the_middle_is_replaced_by_another(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    content = packed(bytes_min=SIZE)
    digest, _ = revisions.add(content)
    killed, other = host(revisions, fails=away_after(2)), host(revisions)

    assert read(node(killed, other), ref(digest)) == {"": bytes(content)}
    assert killed.pieces == 3
    assert other.pieces > 1


def test_a_host_that_restarts_is_waited_for(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed())

    assert read(node(host(revisions, fails=away_until(ROUNDS_MAX - 1))), ref(digest))


def test_a_host_that_stays_away_may_have_it_so_it_is_unavailable_and_not_absent(
    revisions: RevisionFiles, tmp_path: Path, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed())
    gone = host(revisions, fails=away)
    adapters = node(host(RevisionFiles(tmp_path / "empty")), gone)

    with pytest.raises(EngineUnavailable, match=r"the adapter .* is not on this node, and populace-host"):
        read(adapters, ref(digest))
    assert gone.lists == ROUNDS_MAX


def test_what_no_host_has_is_refused_by_name(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    adapters = node(host(revisions))

    for digest in ("d" * 64, "../../etc/passwd", ""):
        with pytest.raises(AdapterInvalid, match="no host of this Populace has its file"):
            read(adapters, ref(digest))
    with pytest.raises(AdapterInvalid):
        read(adapters, ref("d" * 64, "not/absolute"))


@pytest.mark.parametrize("kind", ["packed", "directory", "no adapter"])
def test_bytes_of_another_digest_are_never_opened(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters], kind: str
) -> None:
    if kind == "directory":
        digest, _ = revisions.add_directory(b"{}", b"tensors")
        (revisions.path(digest) / TENSORS_FILE).write_bytes(b"changed")
    else:
        digest, _ = revisions.add(packed())
        revisions.path(digest).write_bytes(packed("other") if kind == "packed" else b"nothing")
    adapters = node(host(revisions))

    with pytest.raises(AdapterInvalid, match="what a host sent is not it"):
        read(adapters, ref(digest))
    assert not adapters.is_open(digest)


def cut(sealed: bytes) -> bytes:
    return sealed[:-1]


def emptied(_: bytes) -> bytes:
    return b""


def changed(sealed: bytes) -> bytes:
    return bytes([sealed[0] ^ 1]) + sealed[1:]


@pytest.mark.parametrize("change", [cut, emptied, changed])
def test_a_transfer_that_is_cut_or_changed_on_the_way_is_not_taken(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters], change: Callable[[bytes], bytes]
) -> None:
    content = packed(bytes_min=SIZE)
    digest, _ = revisions.add(content)
    bad = host(revisions, changes=change)

    with pytest.raises(EngineUnavailable, match="what it sent was cut off or changed on the way"):
        read(node(bad), ref(digest))
    assert read(node(bad, host(revisions)), ref(digest)) == {"": bytes(content)}


def test_a_file_that_shrinks_in_the_middle_ends_the_transfer(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed(bytes_min=SIZE))

    def shrink(host: LocalFileHost) -> None:
        if host.pieces == 2:
            revisions.path(digest).write_bytes(b"x" * (PIECE_BYTES + 10))

    with pytest.raises(EngineUnavailable, match="cut off"):
        read(node(host(revisions, fails=shrink)), ref(digest))


def test_an_adapter_that_is_removed_in_the_middle_is_not_there(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed(bytes_min=SIZE))

    def remove(host: LocalFileHost) -> None:
        if host.pieces == 2:
            revisions.remove(digest)

    with pytest.raises(AdapterInvalid, match="no host of this Populace has its file"):
        read(node(host(revisions, fails=remove)), ref(digest))


def test_after_a_failure_the_next_one_tries_again(
    revisions: RevisionFiles, node: Callable[..., NodeAdapters]
) -> None:
    content = packed()
    adapters = node(host(revisions))
    digest, _ = revisions.add(content)
    revisions.remove(digest)
    with pytest.raises(AdapterInvalid):
        read(adapters, ref(digest))
    revisions.add(content)

    assert read(adapters, ref(digest)) == {"": bytes(content)}


def test_no_piece_can_be_read_without_the_key_of_its_transfer(revisions: RevisionFiles) -> None:
    content = packed(bytes_min=SIZE)
    digest, _ = revisions.add(content)
    wanted = Wanted("adapter", digest)
    asked = host(revisions)
    listed = asked.files(wanted)
    assert listed is not None
    [file] = listed
    seal, other = pieces.PieceSeal.new(), pieces.PieceSeal.new()
    sealed = asked.piece(wanted, file.name, 0, seal.key)
    assert sealed is not None

    assert file == SharedFile(pieces.PACKED, len(content))
    assert bytes(content[200:264]) not in sealed
    assert seal.open(wanted, file.name, 0, sealed) == bytes(content[:PIECE_BYTES])
    assert other.open(wanted, file.name, 0, sealed) is None
    assert seal.open(wanted, file.name, PIECE_BYTES, sealed) is None


def test_no_name_but_a_listed_one_is_ever_opened(revisions: RevisionFiles, tmp_path: Path) -> None:
    digest, _ = revisions.add_directory(b"{}", b"tensors")
    (tmp_path / "secret").write_bytes(b"secret")
    asked, key = host(revisions), pieces.PieceSeal.new().key

    for name in ("../../../secret", str(tmp_path / "secret"), "", "."):
        assert asked.piece(Wanted("adapter", digest), name, 0, key) is None


def test_what_is_being_fetched_is_erased_with_what_was_killed(
    revisions: RevisionFiles, root: Path, node: Callable[..., NodeAdapters]
) -> None:
    digest, _ = revisions.add(packed())
    adapters = node(host(revisions))
    with adapters.opened(ref(digest)) as path:
        assert path.is_relative_to(root / USERS)
        assert adapters.is_open(digest)
        assert adapter_digest(path)[0] == digest

        erase(root, digest)

        assert files_in(root) == []


async def test_an_adapter_does_not_wait_for_nodes_that_fetch_the_base(revisions: RevisionFiles) -> None:
    digest, _ = revisions.add(packed("ada"))
    is_read = threading.Event()

    def look() -> SharedPaths:
        is_read.wait(HANG_SECONDS)
        return SharedPaths(BASE, None)

    async def finding() -> FindingHost:
        return FindingHost(revisions)

    files = SharedFiles(look, finding)
    nodes = [asyncio.create_task(files.files(Wanted("base", BASE))) for _ in range(THREADS)]
    try:
        await asyncio.sleep(0)
        assert await asyncio.wait_for(files.files(Wanted("adapter", digest)), HANG_SECONDS / 2) is not None
        assert not any(node.done() for node in nodes)
    finally:
        is_read.set()
        assert await asyncio.gather(*nodes) == [None] * THREADS
        files.close()

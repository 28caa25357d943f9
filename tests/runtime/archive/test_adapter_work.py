"""Work on adapters that is done in another process comes to the same, and is refused by the same names."""

import subprocess
import sys
from pathlib import Path

import pytest

from populace.actors.errors import AdapterInvalid, AdapterMismatch, InvalidRequest
from populace.actors.merging import MergeOptions
from populace.archive.adapter_work import Comparing, Importing, Merging, do_work, do_work_apart
from populace.settings.environment import process_environment
from populace.storage.packed.adapter import PackedAdapter
from tests.runtime.archive.homes import Home
from tests.runtime.archive.uploads import adapter_files

pytestmark = pytest.mark.slow


def importing(home: Home, folder: Path, *, seed: int, rank: int = 2) -> Importing:
    adapter_files(home.destination.base_directory, folder, seed=seed, rank=rank)
    return Importing(store=home.destination, adapter=folder, now_ms=7)


def merging(
    home: Home, digests: list[str], options: MergeOptions, weights: dict[str, float] | None = None
) -> Merging:
    members = {f"member-{index}": digest for index, digest in enumerate(digests)}
    return Merging(store=home.destination, members=members, weights=weights, options=options, now_ms=7)


def test_an_adapter_is_stored_merged_and_compared(other: Home, tmp_path: Path) -> None:
    first, second = (do_work(importing(other, tmp_path / str(seed), seed=seed)).made for seed in (1, 2))
    assert first is not None
    assert second is not None
    digests = [first.revision.digest, second.revision.digest]
    merged = do_work(
        merging(other, digests, MergeOptions("svd", rank=1), {"member-0": 1, "member-1": 3})
    ).made
    layers = do_work(Comparing(store=other.destination, first=digests[0], second=None)).layers

    assert merged is not None
    assert (first.revision.method, first.revision.rank, first.revision.created_ms) == ("imported", 2, 7)
    assert first.kept == 1.0
    assert (merged.revision.method, merged.revision.rank) == ("merge-svd", 1)
    assert merged.revision.sources == ((digests[0], 1.0), (digests[1], 3.0))
    assert 0 < merged.kept < 1
    assert other.content()[1] == {f"{one}.adapter" for one in (*digests, merged.revision.digest)}
    assert layers is not None
    assert len(layers) == 4
    assert all(layer.norm == layer.distance > layer.other_norm == 0 for layer in layers)


def test_here_and_apart_come_to_the_same(other: Home, tmp_path: Path) -> None:
    imports = [importing(other, tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    here = [do_work(work) for work in imports]
    made = [one.made.revision.digest for one in here if one.made is not None]
    works = [
        imports[0],
        merging(other, made, MergeOptions()),
        Comparing(store=other.destination, first=made[0], second=made[1]),
    ]

    results = [do_work(work) for work in works]

    assert [do_work_apart(work) for work in works] == results
    assert results[1].made is not None
    assert results[1].made.kept == 1.0


def test_what_cannot_be_used_is_refused_and_not_stored(other: Home, tmp_path: Path) -> None:
    work = importing(other, tmp_path / "adapter", seed=1, rank=17)
    foreign = work.model_copy(update={"store": other.destination._replace(rank_max=32)})
    (tmp_path / "wider").mkdir()
    config = (other.destination.base_directory / "config.json").read_text()
    (tmp_path / "wider" / "config.json").write_text(config.replace('"hidden_size": 8', '"hidden_size": 16'))
    wider = foreign.store._replace(base_directory=tmp_path / "wider")

    with pytest.raises(AdapterInvalid, match="rank 17"):
        do_work(work)
    for do in (do_work, do_work_apart):
        with pytest.raises(AdapterMismatch, match="another base"):
            do(foreign.model_copy(update={"store": wider}))
    with pytest.raises(InvalidRequest, match="Weights and members differ"):
        do_work(merging(other, [], MergeOptions(), {"ada": 1.0}))
    assert other.content()[1] == set()


def test_a_packed_file_is_imported_as_what_it_is(other: Home, tmp_path: Path) -> None:
    made = do_work(importing(other, tmp_path / "adapter", seed=1)).made
    assert made is not None
    packed = tmp_path / "adapter.adapter"
    packed.write_bytes(PackedAdapter.open(other.store.revisions.path(made.revision.digest)).data)

    again = do_work(Importing(store=other.destination, adapter=packed, now_ms=8)).made

    assert again is not None
    assert again.revision.digest == made.revision.digest


@pytest.mark.parametrize("module", ["archive.adapter_work", "archive.adapter_upload", "gateway.app"])
def test_who_has_work_done_apart_has_no_torch(module: str) -> None:
    program = (
        f"import sys, populace.{module}; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    )

    assert done.stdout.strip() == "[]"

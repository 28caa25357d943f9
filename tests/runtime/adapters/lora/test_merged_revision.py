"""Revisions of a store become one that names them all, and what cannot be served is refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.errors import InvalidRequest
from populace.actors.merging import MergeOptions
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.lora.merged_revision import merged_adapter
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.storage.adapter_store import AdapterStore
from populace.storage.store import Store

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64
RANK_MAX = 16


@pytest.fixture(scope="module")
def frozen(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32)


@pytest.fixture
def base(small_base_f32: Path) -> BaseModules:
    return read_base_modules(small_base_f32, FINGERPRINT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create_or_open(tmp_path / "store", 1)


def stored(store: Store, frozen: FrozenBase, seed: int, rank: int = 8) -> str:
    """A revision of a store whose adapter does something."""
    made = TrainableAdapter.begin(frozen.model, frozen.modules, LoraShape(rank), "uniform", seed=seed)
    source = torch.Generator().manual_seed(seed)
    for layer in made.layers.values():
        layer.b.data = torch.randn(layer.b.shape, generator=source) * 0.1
    with store.revisions.adding():
        return store.revisions.add(made.pack(FINGERPRINT, torch.bfloat16))[0]


def delta(store: Store, base: BaseModules, digest: str) -> torch.Tensor:
    adapter = TrainableAdapter.of_revision(store.revisions.path(digest), base, rank_max=RANK_MAX)
    layer = next(iter(adapter.layers.values()))
    return (layer.b @ layer.a * layer.scaling).detach()


@pytest.mark.parametrize("method", ["sum", "svd"])
def test_a_merged_revision_does_what_its_sources_do_and_names_them(
    store: Store, frozen: FrozenBase, base: BaseModules, small_base_f32: Path, method: str
) -> None:
    sources = [stored(store, frozen, seed) for seed in (1, 2)]
    options = MergeOptions(method, rank=16 if method == "svd" else None)  # type: ignore[arg-type]

    home = AdapterStore(store.path, small_base_f32, FINGERPRINT, RANK_MAX)
    with merged_adapter(sources, [0.5, 2.0], options, home, now_ms=7) as merged:
        assert store.revisions.has(merged.revision.digest)

    made = merged.revision
    assert (made.method, made.rank, made.created_ms) == (f"merge-{method}", 16, 7)
    assert made.sources == ((sources[0], 0.5), (sources[1], 2.0))
    assert merged.kept == pytest.approx(1)
    together = 0.5 * delta(store, base, sources[0]) + 2.0 * delta(store, base, sources[1])
    off = delta(store, base, made.digest) - together
    assert float(off.square().sum().sqrt() / together.square().sum().sqrt()) < 0.01, (
        "bfloat16 has three digits"
    )
    assert replace(made, sources=()) != made


def test_what_has_too_high_a_rank_to_be_served_is_refused_and_not_stored(
    store: Store, frozen: FrozenBase, small_base_f32: Path
) -> None:
    sources = [stored(store, frozen, seed) for seed in range(3)]
    home = AdapterStore(store.path, small_base_f32, FINGERPRINT, RANK_MAX)
    files = set(store.revisions.root.iterdir())

    with (
        pytest.raises(InvalidRequest, match="rank 24, and at most 16 is served"),
        merged_adapter(sources, [1.0] * 3, MergeOptions(), home, now_ms=0),
    ):
        pass

    assert set(store.revisions.root.iterdir()) == files

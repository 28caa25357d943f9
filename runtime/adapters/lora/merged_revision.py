"""Merges several revisions of a store into a new one."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch

from populace.actors.errors import InvalidRequest
from populace.actors.hosts import Revision
from populace.actors.merging import MergedRevision, MergeOptions
from populace.adapters.base_modules import read_base_modules
from populace.adapters.lora.merging import merge_adapters
from populace.adapters.lora.trainable import TrainableAdapter
from populace.storage.adapter_store import AdapterStore
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.records.files import disk_named


@contextmanager
def merged_adapter(
    digests: Sequence[str],
    weights: Sequence[float],
    options: MergeOptions,
    store: AdapterStore,
    *,
    now_ms: int,
) -> Generator[MergedRevision]:
    """Merge revisions, and store the result in bfloat16 as trained revisions are.

    The sweep does not remove it during the block; a model must refer to it by the end of it. Raises
    ``InvalidRequest`` for invalid options, for a rank above ``rank_max`` and for a result that equals one of
    the inputs, and ``AdapterInvalid``, ``AdapterMismatch`` and ``DiskRefused``; nothing is stored then.
    """
    base, files = read_base_modules(store.base_directory, store.fingerprint), store.files()
    adapters = [
        TrainableAdapter.of_revision(files.here(digest), base, rank_max=store.rank_max, digest=digest)
        for digest in digests
    ]
    merged = merge_adapters(adapters, weights, options)
    rank = max(layer.rank for layer in merged.adapter.layers.values())
    if rank > store.rank_max:
        raise InvalidRequest(
            f"Merged exactly they have rank {rank}, and at most {store.rank_max} is served: use the method "
            "svd, or merge fewer.",
            "method",
        )
    packed = merged.adapter.pack(store.fingerprint, torch.bfloat16)
    if PackedAdapter(memoryview(packed)).digest in digests:
        raise InvalidRequest("The merged adapter equals one of those that it is merged from.", "models")
    with files.adding():
        with disk_named(files.root):
            digest, size = files.add(packed)
        yield MergedRevision(
            Revision(
                digest=digest,
                base=store.fingerprint,
                method=f"merge-{options.method}",
                parent=None,
                rank=rank,
                adapter_bytes=size,
                created_ms=now_ms,
                sources=tuple(zip(digests, weights, strict=True)),
            ),
            merged.kept,
        )

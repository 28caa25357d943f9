"""Packed adapters: a header that says where each matrix is, and matrices."""

import hashlib
import random
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgpack
import torch

from populace.adapters.base_modules import BaseModules, LinearShape
from populace.adapters.packing import check_packed_adapter, unpack_to_peft_directory
from populace.adapters.peft_config import write_peft_config
from populace.adapters.random_adapter import pack_random_adapter
from populace.adapters.serving_image import group_tensor, serving_image
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.envelope import CONTENT_AT, DIGEST_AT
from populace.storage.packed.layout import Factor
from tests.fuzzing.mutation import mutated, mutated_value

HEADER_AT = CONTENT_AT + 8
BASE = BaseModules(
    {
        f"model.layers.{layer}.self_attn.{name}": LinearShape(8, 8)
        for layer in range(3)
        for name in ("q_proj", "v_proj")
    }
)

_msgpack: Any = msgpack


class Packed:
    """Reads packed adapters, and makes all of them that is made of a sound one."""

    def __init__(self, samples: list[bytes], folder: Path) -> None:
        self._samples = samples
        self._folder = folder

    def made(self, source: random.Random) -> bytes:
        sample = source.choice(self._samples)
        kind = source.random()
        if kind < 0.2:
            return mutated(sample, self._samples, source)
        changed = bytearray(
            mutated(sample, self._samples, source) if kind < 0.5 else _reheaded(sample, source)
        )
        if len(changed) > CONTENT_AT:
            # With the digest of what it is now, so that more than the digest is looked at.
            changed[DIGEST_AT:CONTENT_AT] = hashlib.sha256(changed[CONTENT_AT:]).digest()
        return bytes(changed)

    def feed(self, data: bytes) -> None:
        adapter = PackedAdapter(memoryview(data))
        adapter.verify()
        check_packed_adapter(adapter, BASE, rank_max=64)
        for group in adapter.groups:
            adapter.group(group)
            group_tensor(adapter, group)
        again = PackedAdapter(memoryview(serving_image(adapter, torch.bfloat16)))
        again.check_content()
        assert sum(1 for _ in again.factors()) == sum(group.matrices for group in adapter.groups)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            unpack_to_peft_directory(adapter, Path(folder))


def _reheaded(sample: bytes, source: random.Random) -> bytes:
    """Change a value of the header, and put the body behind it as before."""
    length = int.from_bytes(sample[CONTENT_AT:HEADER_AT], "little")
    end = HEADER_AT + length
    body = sample[-(-end // 64) * 64 :]
    header = _msgpack.unpackb(sample[HEADER_AT:end], use_list=False)
    try:
        packed = cast("bytes", _msgpack.packb(mutated_value(header, source), use_bin_type=True))
    except (ValueError, OverflowError):
        return sample
    start = sample[:CONTENT_AT] + len(packed).to_bytes(8, "little") + packed
    return start + bytes(-len(start) % 64) + body


def _samples() -> list[bytes]:
    shapes = {"A": (2, 8), "B": (2, 8)}
    odd = pack_adapter(
        {("model.layers.1.self_attn.q_proj", side): bytes(4 * 16) for side in ("A", "B")},
        [Factor("model.layers.1.self_attn.q_proj", side, shapes[side], "F32", 4.0) for side in ("A", "B")],
        base=None,
        config=write_peft_config(2, 4.0, ("q_proj",)),
        metadata={"format": "pt"},
    )
    return [bytes(pack_random_adapter(BASE, seed=0, rank=2)), bytes(odd)]


@contextmanager
def packed() -> Generator[Packed]:
    with tempfile.TemporaryDirectory(prefix="populace-fuzz-") as folder:
        yield Packed(_samples(), Path(folder))

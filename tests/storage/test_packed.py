"""A packed adapter is read back as it was packed, lies as it should, and nothing damaged is taken for one."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.storage.packed.adapter import AdapterHeader, PackedAdapter, pack_adapter
from populace.storage.packed.envelope import MAGIC
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.packed.layout import (
    ALIGNMENT,
    ITEM_BYTES,
    DType,
    Factor,
    Group,
    Side,
    aligned,
    groups_of,
)
from populace.storage.records.record import RECORD_BYTES_MAX

_msgpack: Any = msgpack  # it ships no types

SIDES: tuple[Side, Side] = ("A", "B")
HEADER_AT = len(MAGIC) + 1 + 32 + 8


@dataclass
class Made:
    """An adapter in parts: its matrices by module and side, and what they are."""

    factors: list[Factor] = field(default_factory=list[Factor])
    matrices: dict[tuple[str, Side], bytes] = field(default_factory=dict[tuple[str, Side], bytes])

    def add(self, module: str, *, rank: int = 2, alpha: float = 4.0, dtype: DType = "BF16") -> None:
        for side in SIDES:
            shape = (rank, 6 if side == "A" else 10)
            factor = Factor(module, side, shape, dtype, alpha)
            size = ITEM_BYTES[dtype]
            count = shape[0] * shape[1]
            numbers = np.arange(len(self.factors) * 100, len(self.factors) * 100 + count)
            values = numbers.astype("<f4" if dtype == "F32" else "<u2")
            self.factors.append(factor)
            self.matrices[module, side] = values.tobytes()
            assert len(self.matrices[module, side]) == count * size

    def pack(self, **options: Any) -> bytearray:
        return pack_adapter(self.matrices, self.factors, base="f" * 64, config=b"{}", **options)


def dense(layers: int = 3) -> Made:
    made = Made()
    for layer in range(layers):
        for name in ("q_proj", "o_proj"):
            made.add(f"model.layers.{layer}.self_attn.{name}")
    return made


def mixture(layers: int, experts: int) -> Made:
    made = Made()
    for layer, expert, name in itertools.product(range(layers), range(experts), ("gate", "up", "down")):
        made.add(f"model.layers.{layer}.mlp.experts.{expert}.{name}_proj", rank=1)
    return made


def module_name(drawn: tuple[Any, ...]) -> str:
    pattern, numbers, *_ = drawn
    return pattern.format(*numbers)


def opened(data: bytes | bytearray) -> PackedAdapter:
    return PackedAdapter(memoryview(bytes(data)))


def test_a_module_of_all_layers_is_two_groups() -> None:
    groups = opened(dense(layers=30).pack()).groups

    assert [(group.pattern, group.side, group.matrices) for group in groups] == [
        (f"model.layers.*.self_attn.{name}", side, 30) for name in ("o_proj", "q_proj") for side in SIDES
    ]


def test_experts_are_an_axis_and_no_groups_of_their_own() -> None:
    made = mixture(layers=4, experts=8)

    packed = opened(made.pack())

    assert len(made.factors) == 192
    assert len(packed.groups) == 6
    assert packed.group(packed.groups[0]).shape == (4, 8, 1, 6)


def test_layers_that_differ_are_groups_of_their_own() -> None:
    made = Made()
    for layer in range(4):
        made.add(f"layers.{layer}.q", rank=1 + layer % 2, alpha=8.0 if layer == 3 else 4.0)

    numbers = {(group.rank, group.alpha): group.numbers for group in opened(made.pack()).groups}

    assert numbers == {(1, 4.0): ((0, 2),), (2, 4.0): ((1,),), (2, 8.0): ((3,),)}


def test_a_view_of_a_group_is_its_matrices_without_a_copy() -> None:
    made = dense()
    data = bytes(made.pack())
    packed = PackedAdapter(memoryview(data))
    group = packed.groups[0]

    view = packed.group(group)

    assert view.base is not None
    assert not view.flags.owndata
    assert (packed.bytes - len(data), view.__array_interface__["data"][0] % 2) == (0, 0)
    for layer in range(3):
        assert view[layer].tobytes() == made.matrices[f"model.layers.{layer}.self_attn.o_proj", "A"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["layers.{}.q", "layers.{}.experts.{}.up", "head", "a.{}.b.{}.c.{}.d.{}.e.{}.f"]),
            st.lists(st.integers(0, 3), min_size=5, max_size=5),
            st.integers(1, 3),
            st.sampled_from([4.0, 8.0]),
            st.sampled_from(["F32", "F16", "BF16"]),
        ),
        min_size=1,
        max_size=24,
        unique_by=module_name,
    ),
    st.randoms(use_true_random=False),
)
def test_any_adapter_comes_back_as_it_was(modules: list[Any], source: Any) -> None:
    made = Made()
    for pattern, numbers, rank, alpha, dtype in modules:
        made.add(pattern.format(*numbers), rank=rank, alpha=alpha, dtype=dtype)
    data = bytes(made.pack(rank_scaled=True, metadata={"format": "pt"}))
    source.shuffle(made.factors)

    assert made.pack(rank_scaled=True, metadata={"format": "pt"}) == data
    packed = opened(data)
    packed.verify()
    found = {(factor.module, factor.side): (factor, bytes(rest)) for factor, rest in packed.factors()}
    assert found == {
        (factor.module, factor.side): (factor, made.matrices[factor.module, factor.side])
        for factor in made.factors
    }
    assert (packed.base, packed.config, packed.metadata) == ("f" * 64, b"{}", {"format": "pt"})
    assert all(group.offset % ALIGNMENT == 0 for group in packed.groups)


def test_a_scaling_is_of_the_rank_or_of_its_root() -> None:
    made = Made()
    made.add("q", rank=4, alpha=8.0)

    for rank_scaled, scaling in ((False, 2.0), (True, 4.0)):
        packed = opened(made.pack(rank_scaled=rank_scaled))
        assert [packed.scaling_of(group) for group in packed.groups] == [scaling, scaling]


def test_a_file_is_mapped_and_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "ada.adapter"
    path.write_bytes(dense().pack())

    packed = PackedAdapter.open(path)

    packed.verify()
    assert packed.digest == opened(path.read_bytes()).digest


@given(st.data())
def test_a_cut_off_adapter_is_refused(data: st.DataObject) -> None:
    whole = bytes(dense().pack())
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]

    with pytest.raises(PackedAdapterInvalid):
        opened(cut)


@given(st.data())
def test_a_flipped_bit_is_found(data: st.DataObject) -> None:
    damaged = dense().pack()
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises((PackedAdapterInvalid, PackedAdapterVersionMismatch)):
        opened(damaged).verify()


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("BF16", 0x7F80), ("BF16", 0xFFC0), ("F16", 0x7C00), ("F16", 0xFE00), ("F32", 0x7F80_0000)],
)
def test_what_is_no_number_is_refused(dtype: DType, bits: int) -> None:
    made = Made()
    made.add("q", dtype=dtype)
    size = ITEM_BYTES[dtype]
    made.matrices["q", "B"] = bits.to_bytes(size, "little") + made.matrices["q", "B"][size:]

    with pytest.raises(PackedAdapterInvalid, match="q B holds NaN or infinity"):
        opened(made.pack()).verify()


def test_a_newer_format_is_named() -> None:
    data = dense().pack()
    data[len(MAGIC)] = 2

    with pytest.raises(PackedAdapterVersionMismatch, match="of format 2"):
        opened(data)


GROUP = {"pattern": 0, "side": 1, "dtype": 2, "alpha": 3, "shape": 4, "numbers": 5, "offset": 6}
WRONG: dict[str, tuple[str, Any]] = {
    "an offset beyond the end": ("offset", 1 << 30),
    "an offset before the group": ("offset", -64),
    "another side": ("side", "C"),
    "another type": ("dtype", "I8"),
    "no rows": ("shape", [0, 6]),
    "too many rows": ("shape", [1 << 20, 6]),
    "an alpha that is no number": ("alpha", float("nan")),
    "a number twice": ("numbers", [[0, 0, 1]]),
    "numbers out of order": ("numbers", [[2, 1, 0]]),
    "an axis too many": ("numbers", [[0, 1, 2], [0]]),
    "no axis": ("numbers", []),
    "a negative number": ("numbers", [[-1, 0, 1]]),
    "a number in the pattern": ("pattern", "model.layers.0.self_attn.*.o_proj"),
    "an empty pattern": ("pattern", ""),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_group_that_cannot_be_is_refused(what: str) -> None:
    name, value = WRONG[what]

    def change(header: Any) -> Any:
        header[1]["groups"][0][GROUP[name]] = value
        return header

    with pytest.raises(PackedAdapterInvalid):
        opened(with_header(change))


HEADERS: list[Callable[[Any], Any]] = [
    lambda header: [1, {**header[1], "extra": 1}],
    lambda header: [1, {**header[1], "groups": []}],
    lambda header: [1, {**header[1], "config": "text"}],
    lambda header: [1, {**header[1], "groups": header[1]["groups"][:-1]}],
    lambda header: [1, {**header[1], "groups": header[1]["groups"] * 2}],
    lambda header: {"version": 1},
    lambda header: [True, header[1]],
    lambda header: 7,
]


@pytest.mark.parametrize("change", HEADERS)
def test_a_header_of_another_shape_is_refused(change: Callable[[Any], Any]) -> None:
    with pytest.raises(PackedAdapterInvalid):
        opened(with_header(change))


def test_a_header_longer_than_any_is_refused_before_it_is_read() -> None:
    data = dense().pack()
    data[HEADER_AT - 8 : HEADER_AT] = (RECORD_BYTES_MAX + 1).to_bytes(8, "little")

    with pytest.raises(PackedAdapterInvalid, match="header's length"):
        opened(data)


def test_more_matrices_than_any_model_has_are_refused() -> None:
    """Two bytes each: cheap to send, and dear to list."""
    side = 1100
    numbers = tuple(range(side))
    group = Group("layers.*.experts.*.up", "A", "BF16", 1.0, (1, 1), (numbers, numbers), 0)
    header = AdapterHeader(base=None, rank_scaled=False, config=b"{}", metadata=(), groups=(group,)).pack()
    prefix = MAGIC + b"\1" + bytes(32) + len(header).to_bytes(8, "little") + header
    data = prefix.ljust(aligned(len(prefix)), b"\0") + bytes(group.bytes)

    with pytest.raises(PackedAdapterInvalid, match="1210000 matrices are more"):
        opened(data)


def test_a_matrix_in_two_groups_is_refused() -> None:
    """Two layers with another alpha each, the second renamed to the first."""
    made = Made()
    made.add("layers.0.q", alpha=1.0)
    made.add("layers.1.q", alpha=2.0)

    def change(header: Any) -> Any:
        for group in header[1]["groups"]:
            group[GROUP["numbers"]] = [[0]]
        return header

    with pytest.raises(PackedAdapterInvalid, match="twice"):
        opened(with_header(change, made))


@pytest.mark.parametrize("data", [b"", b"PopLoRA", b"x" * 100, MAGIC + bytes(100)])
def test_something_else_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ada.adapter"
    path.write_bytes(data)

    with pytest.raises(PackedAdapterInvalid):
        opened(data)
    with pytest.raises(PackedAdapterInvalid):
        PackedAdapter.open(path)


def test_the_same_matrices_are_laid_out_alike_in_any_order() -> None:
    factors = mixture(layers=3, experts=2).factors

    assert groups_of(factors) == groups_of(reversed(factors))


def with_header(change: Any, made: Made | None = None) -> bytes:
    """Pack, and write another header of about the same length in front of the same body."""
    data = bytes((made or dense()).pack())
    length = int.from_bytes(data[HEADER_AT - 8 : HEADER_AT], "little")
    body = aligned(HEADER_AT + length)
    decoded: Any = _msgpack.unpackb(data[HEADER_AT : HEADER_AT + length], use_list=True)
    header: bytes = _msgpack.packb(change(decoded), use_bin_type=True)
    prefix = data[: HEADER_AT - 8] + len(header).to_bytes(8, "little") + header
    return prefix.ljust(aligned(len(prefix)), b"\0") + data[body:]

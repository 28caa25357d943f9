# pyright: reportUnknownVariableType=false
# safetensors' functions are partly untyped.
"""An image holds an adapter's matrices in the base's type; what is packed is checked against the base."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.adapters.base_modules import BaseModules, LinearShape, read_base_modules
from populace.adapters.packing import pack_peft_directory, read_adapter
from populace.adapters.peft_directory import CONFIG_FILE, TENSOR_FILE
from populace.adapters.random_adapter import write_random_adapter
from populace.adapters.serving_image import TYPES, matrix_bytes, serving_image
from populace.adapters.tensor_file import tensor_name
from populace.storage.packed.adapter import PackedAdapter
from tests.small_base import make_small_base

FINGERPRINT = "f" * 64
RANK = 3


@pytest.fixture(scope="module")
def modules(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModules:
    small = make_small_base(tmp_path_factory.mktemp("small-base"), base_files)
    return read_base_modules(small, FINGERPRINT)


@pytest.fixture(scope="module")
def directory(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = make_small_base(tmp_path_factory.mktemp("small-base"), base_files)
    targets = ("q_proj", "v_proj", "o_proj", "down_proj")
    return write_random_adapter(tmp_path_factory.mktemp("peft"), small, seed=1, rank=RANK, targets=targets)


@pytest.fixture(scope="module")
def packed(directory: Path, modules: BaseModules) -> PackedAdapter:
    return PackedAdapter(memoryview(pack_peft_directory(directory, modules, rank_max=RANK)))


def image_of(packed: PackedAdapter, dtype: torch.dtype) -> PackedAdapter:
    return PackedAdapter(memoryview(serving_image(packed, dtype)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16], ids=str)
def test_every_matrix_is_the_adapters_own_in_the_bases_type(
    directory: Path, packed: PackedAdapter, dtype: torch.dtype
) -> None:
    saved = load_file(directory / TENSOR_FILE)
    image = image_of(packed, dtype)

    seen: set[str] = set()
    for factor, data in image.factors():
        found = torch.frombuffer(bytearray(data), dtype=TYPES[factor.dtype]).view(factor.shape)
        name = tensor_name(factor.module, factor.side)
        expected = saved[name].to(dtype)
        assert torch.equal(found if factor.side == "A" else found.T, expected)
        seen.add(name)
    assert seen == set(saved)


def test_the_same_adapter_makes_the_same_image_and_its_scale_stays(packed: PackedAdapter) -> None:
    image, again = (image_of(packed, torch.bfloat16) for _ in range(2))

    assert image.digest == again.digest
    assert {image.scaling_of(group) for group in image.groups} == {
        packed.scaling_of(group) for group in packed.groups
    }
    image.verify()


def test_an_adapter_of_several_types_makes_an_image_of_one(
    directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    saved = load_file(directory / TENSOR_FILE)
    types = (torch.bfloat16, torch.float32, torch.float16)
    mixed = {name: tensor.to(types[number % 3]) for number, (name, tensor) in enumerate(saved.items())}
    (tmp_path / CONFIG_FILE).write_bytes((directory / CONFIG_FILE).read_bytes())
    save_file(mixed, tmp_path / TENSOR_FILE)
    packed = PackedAdapter(memoryview(pack_peft_directory(tmp_path, modules, rank_max=RANK)))
    assert len({group.dtype for group in packed.groups}) == 3

    image = image_of(packed, torch.bfloat16)

    image.verify()
    assert {group.dtype for group in image.groups} == {"BF16"}
    assert (image.base, image.config, image.metadata) == (packed.base, packed.config, packed.metadata)
    found = {tensor_name(factor.module, factor.side): (factor, data) for factor, data in image.factors()}
    assert set(found) == set(saved)
    for name, (factor, data) in found.items():
        tensor = mixed[name].to(torch.bfloat16)
        assert bytes(data) == matrix_bytes(tensor if factor.side == "A" else tensor.T)


def test_an_adapter_of_the_bases_type_is_its_own_image(packed: PackedAdapter) -> None:
    image = image_of(packed, torch.bfloat16)

    assert image_of(image, torch.bfloat16).digest == image.digest
    assert serving_image(packed, torch.float32) == packed.data


def test_a_packed_file_is_read_as_its_directory_is(
    directory: Path, packed: PackedAdapter, modules: BaseModules, tmp_path: Path
) -> None:
    path = tmp_path / "adapter"
    path.write_bytes(pack_peft_directory(directory, modules, rank_max=RANK))

    of_file, of_directory = (read_adapter(one, modules, rank_max=RANK) for one in (path, directory))

    assert of_file.digest == of_directory.digest == packed.digest


def changed(modules: BaseModules, shape: LinearShape | None) -> BaseModules:
    """The same base with another shape of one layer, or without it."""
    name = next(name for name in modules.linears if name.endswith("q_proj"))
    linears = dict(modules.linears)
    if shape is None:
        del linears[name]
    else:
        linears[name] = shape
    return BaseModules(linears)


def test_a_packed_file_is_checked_against_the_base(
    directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    path = tmp_path / "adapter"
    path.write_bytes(pack_peft_directory(directory, modules, rank_max=RANK))
    [q_proj] = {shape for name, shape in modules.linears.items() if name.endswith("q_proj")}

    with pytest.raises(AdapterMismatch, match="was made for the base ffff"):
        read_adapter(path, BaseModules(modules.linears, "0" * 64), rank_max=RANK)
    with pytest.raises(AdapterMismatch, match="has no layer"):
        read_adapter(path, changed(modules, None), rank_max=RANK)
    for shape in (q_proj._replace(inputs=7), q_proj._replace(outputs=7)):
        with pytest.raises(AdapterMismatch, match="should be"):
            read_adapter(path, changed(modules, shape), rank_max=RANK)
    with pytest.raises(AdapterInvalid, match=r"rank 3 is above this engine's limit of 2"):
        read_adapter(path, modules, rank_max=2)


@pytest.mark.parametrize("place", [0, 7, 20, 60, 500, -1])
@pytest.mark.parametrize("is_revision", [False, True])
def test_a_packed_file_with_a_byte_changed_is_refused(
    place: int, is_revision: bool, directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    data = pack_peft_directory(directory, modules, rank_max=RANK)
    digest = data[8:40].hex() if is_revision else None
    data[place] ^= 0x55
    path = tmp_path / "adapter"
    path.write_bytes(data)

    with pytest.raises(AdapterInvalid):
        read_adapter(path, modules, rank_max=RANK, digest=digest)


def test_a_packed_file_is_not_read_in_place_of_another_revision(
    directory: Path, packed: PackedAdapter, modules: BaseModules, tmp_path: Path
) -> None:
    path = tmp_path / "adapter"
    path.write_bytes(packed.data)

    with pytest.raises(AdapterInvalid, match=f"its digest is {packed.digest} and not {'0' * 64}"):
        read_adapter(path, modules, rank_max=RANK, digest="0" * 64)
    assert read_adapter(path, modules, rank_max=RANK, digest=packed.digest).data == packed.data


@pytest.mark.parametrize("name", ["relative/adapter", "someone/adapter-on-a-hub", "../../etc/passwd"])
def test_a_path_that_is_not_absolute_is_refused(name: str, modules: BaseModules) -> None:
    with pytest.raises(AdapterInvalid, match="is not absolute"):
        read_adapter(Path(name), modules, rank_max=RANK)

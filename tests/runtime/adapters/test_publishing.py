# pyright: reportUnknownVariableType=false
# safetensors' functions are partly untyped.
"""What a user brings is stored packed under one digest, or refused by name before anything is stored."""

import json
import shutil
from collections.abc import Callable, Generator
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import pack_peft_directory, unpack_to_peft_directory
from populace.adapters.peft_directory import FINGERPRINT_KEY
from populace.adapters.random_adapter import write_random_adapter
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.envelope import CONTENT_AT
from populace.storage.records.record import RECORD_BYTES_MAX
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE
from tests.runtime.archive.homes import BASE, RANK, TARGETS, Home, open_home

RANK_MAX = 16


@pytest.fixture
def home(tmp_path: Path) -> Generator[Home]:
    with open_home(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def modules(home: Home) -> BaseModules:
    return read_base_modules(home.destination.base_directory, BASE)


@pytest.fixture
def directory(home: Home, tmp_path: Path) -> Path:
    return write_random_adapter(
        tmp_path / "peft",
        home.destination.base_directory,
        seed=0,
        rank=RANK,
        targets=TARGETS,
        fingerprint=BASE,
    )


def packed_of(directory: Path, modules: BaseModules) -> PackedAdapter:
    return PackedAdapter(memoryview(pack_peft_directory(directory, modules, rank_max=RANK_MAX)))


def published(home: Home, adapter: Path) -> str:
    with home.publishing(adapter) as revision:
        path = home.store.revisions.path(revision.digest)
        assert path.stat().st_size == revision.adapter_bytes
        assert (revision.rank, revision.base) == (RANK, BASE)
    home.store.revisions.verify(revision.digest)
    return revision.digest


def stored(home: Home) -> set[str]:
    return home.content()[1]


def test_a_directory_and_the_file_that_it_is_packed_into_are_one_revision(
    home: Home, directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    packed = packed_of(directory, modules)
    (tmp_path / "ada.adapter").write_bytes(packed.data)

    assert published(home, directory) == packed.digest
    assert published(home, tmp_path / "ada.adapter") == packed.digest

    assert stored(home) == {f"{packed.digest}.adapter"}
    assert home.store.revisions.path(packed.digest).read_bytes() == packed.data


def test_a_file_that_was_packed_for_no_base_in_particular_is_stored_for_this_one(
    home: Home, directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    (tmp_path / "ada.adapter").write_bytes(packed_of(directory, BaseModules(modules.linears)).data)

    assert published(home, tmp_path / "ada.adapter") == packed_of(directory, modules).digest


def test_equal_matrices_make_one_revision_in_whatever_order_their_file_has_them(
    home: Home, directory: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(directory / CONFIG_FILE, other)
    (other / TENSORS_FILE).write_bytes(reordered((directory / TENSORS_FILE).read_bytes()))
    assert (other / TENSORS_FILE).read_bytes() != (directory / TENSORS_FILE).read_bytes()

    assert published(home, other) == published(home, directory)


def reordered(tensor_file: bytes) -> bytes:
    """The same tensors and metadata with everything the other way round."""
    length = int.from_bytes(tensor_file[:8], "little")
    header, body = json.loads(tensor_file[8 : 8 + length]), tensor_file[8 + length :]
    metadata = header.pop("__metadata__")
    content, entries = b"", dict[str, object]()
    for name, entry in reversed(header.items()):
        begin, end = entry["data_offsets"]
        entries[name] = entry | {"data_offsets": [len(content), len(content) + end - begin]}
        content += body[begin:end]
    entries["__metadata__"] = dict(reversed(metadata.items()))
    written = json.dumps(entries).encode()
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + content


def test_what_is_unpacked_and_packed_again_has_the_same_digest(
    home: Home, directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    config = json.loads((directory / CONFIG_FILE).read_text())
    changes = {"rank_pattern": {"v_proj": 1}, "alpha_pattern": {"q_proj": 2.5}, "use_rslora": True}
    (directory / CONFIG_FILE).write_text(json.dumps(config | changes, indent=3))
    tensors = load_file(directory / TENSORS_FILE)
    for name in tensors:
        if "v_proj" in name:
            tensors[name] = tensors[name][:1] if "lora_A" in name else tensors[name][:, :1].contiguous()
        if "layers.0" in name:
            tensors[name] = tensors[name].to(torch.float16)
    save_file(tensors, directory / TENSORS_FILE, {"format": "pt", FINGERPRINT_KEY: BASE, "more": "é"})
    with home.publishing(directory) as revision:
        path = home.store.revisions.path(revision.digest)

    unpack_to_peft_directory(PackedAdapter.open(path), tmp_path / "again")

    assert packed_of(tmp_path / "again", modules).data == path.read_bytes()
    assert (tmp_path / "again" / CONFIG_FILE).read_bytes() == (directory / CONFIG_FILE).read_bytes()


Hostile = Callable[[PackedAdapter], bytes]


def sealed(content: bytes, adapter: PackedAdapter) -> bytes:
    """The content behind a digest that is true of it."""
    return bytes(adapter.data[:8]) + sha256(content).digest() + content


def with_nan(adapter: PackedAdapter) -> bytes:
    return sealed(bytes(adapter.data[CONTENT_AT:-4]) + b"\xff\xff\xff\x7f", adapter)


def replacing(old: bytes, new: bytes) -> Hostile:
    def replaced(adapter: PackedAdapter) -> bytes:
        content = bytes(adapter.data[CONTENT_AT:])
        assert len(old) == len(new)
        assert old in content
        return sealed(content.replace(old, new), adapter)

    return replaced


HOSTILE: dict[str, tuple[Hostile, type[AdapterInvalid], str]] = {
    "NaN": (with_nan, AdapterInvalid, "NaN"),
    "a changed bit": (
        lambda adapter: bytes(adapter.data[:-1]) + bytes([adapter.data[-1] ^ 1]), AdapterInvalid, "digest"
    ),
    "cut": (lambda adapter: bytes(adapter.data[:-64]), AdapterInvalid, "sound"),
    "something else": (lambda adapter: b"PK\5\6" * 100, AdapterInvalid, "begin"),
    "a header of nothing": (lambda adapter: sealed(bytes(8), adapter), AdapterInvalid, "header"),
    "a header that is damaged": (replacing(b"groups", b"grouqs"), AdapterInvalid, "header is damaged"),
    "a layer that is not there": (replacing(b"q_proj", b"x_proj"), AdapterMismatch, "no layer"),
    "another base": (replacing(b"base\xa6base-1", b"base\xa6base-2"), AdapterMismatch, "base-2"),
    "a configuration of another scaling": (
        replacing(b'"lora_alpha": 16.0', b'"lora_alpha": 17.0'), AdapterInvalid, r"adapter_config\.json"
    ),
    "a configuration of another method": (replacing(b'"LORA"', b'"LOHA"'), AdapterInvalid, "LOHA"),
    "a configuration that is none": (replacing(b"{\n", b"[\n"), AdapterInvalid, "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_packed_file_is_checked_in_full_before_anything_is_stored(
    home: Home, directory: Path, modules: BaseModules, tmp_path: Path, name: str
) -> None:
    make, error, named = HOSTILE[name]
    # Named as the store names its own, which is no reason to believe it.
    data = make(packed_of(directory, modules))
    path = tmp_path / f"{data[8:40].hex()}.adapter"
    path.write_bytes(data)

    with pytest.raises(error, match=named) as raised:
        published(home, path)

    assert type(raised.value) is error
    assert stored(home) == set()


def test_a_rank_above_the_limit_is_refused_in_both_forms(
    home: Home, directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    low = home._replace(destination=home.destination._replace(rank_max=1))
    (tmp_path / "ada.adapter").write_bytes(packed_of(directory, modules).data)

    for path in (directory, tmp_path / "ada.adapter"):
        with pytest.raises(AdapterInvalid, match="rank"):
            published(low, path)
    assert stored(home) == set()


def test_a_path_without_anything_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    with pytest.raises(AdapterInvalid, match="No such file"):
        published(home, tmp_path / "absent")


def test_a_header_that_could_not_be_read_again_is_refused_by_name(home: Home, directory: Path) -> None:
    config = directory / CONFIG_FILE
    config.write_bytes(config.read_bytes() + b" " * 200_000)
    tensors = load_file(directory / TENSORS_FILE)
    (directory / TENSORS_FILE).write_bytes(save(tensors, {"x": "x" * (RECORD_BYTES_MAX - 100_000)}))

    with pytest.raises(AdapterInvalid, match="cannot be packed"):
        published(home, directory)
    assert stored(home) == set()

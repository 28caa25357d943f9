"""Reads PEFT LoRA directories from untrusted sources; everything is checked before a model uses it.

Weights are read from ``adapter_model.safetensors`` only; nothing is unpickled.
"""

import json
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from safetensors import SafetensorError, safe_open

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.adapters.base_modules import BaseModules, LinearShape
from populace.adapters.peft_config import CONFIG_BYTES_MAX, LoraConfig, parse_peft_config
from populace.adapters.tensor_file import tensor_name
from populace.storage.packed.adapter import is_finite
from populace.storage.packed.layout import DType

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
FINGERPRINT_KEY = "populace_base_fingerprint"
HEADER_BYTES_MAX = 16 * 1024 * 1024
TENSOR_FILE_BYTES_MAX = 2 * 1024**3
_TENSOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_DTYPES = ("F32", "F16", "BF16")


class StoredTensor(NamedTuple):
    """The type, shape and place of a tensor; its bytes are ``[begin, end)`` of the file."""

    dtype: DType
    shape: tuple[int, int]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """A checked adapter. ``modules`` are the sorted dotted names of the adapted layers in the base.

    ``metadata`` and ``tensors`` come from the header of ``tensor_file``.
    """

    config_bytes: bytes
    config: LoraConfig
    tensor_file: Path
    modules: tuple[str, ...]
    metadata: Mapping[str, str]
    tensors: Mapping[str, StoredTensor]

    @property
    def rank(self) -> int:
        """The largest rank of any layer."""
        return self.config.rank_highest

    @property
    def targets(self) -> tuple[str, ...]:
        """The ``target_modules`` of the configuration, sorted."""
        return self.config.targets


def read_peft_directory(path: Path, base: BaseModules, *, rank_max: int) -> PeftAdapter:
    """Check that the directory holds a LoRA adapter of this base. Blocks while it reads every tensor.

    Raises:
        AdapterInvalid: a file is missing, oversized or malformed, or the adapter uses a method not served.
        AdapterMismatch: the adapter is valid but was made for another base.
    """
    config_bytes = _read_config(path)
    config = parse_peft_config(config_bytes, rank_max=rank_max)
    tensor_file = path / TENSOR_FILE
    header, body = _read_header(tensor_file)
    metadata = _metadata(header.pop("__metadata__", {}))
    _check_fingerprint(metadata, base)
    modules = _check_names(header, config, base)
    for module in modules:
        _check_shapes(module, header, config.rank_of(module), base.linears[module])
    _check_file(tensor_file)
    tensors = {name: _stored(entry, body) for name, entry in header.items()}
    _check_values(tensor_file, tensors)
    return PeftAdapter(config_bytes, config, tensor_file, modules, metadata, tensors)


def _read_config(path: Path) -> bytes:
    try:
        with (path / CONFIG_FILE).open("rb") as file:
            return file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise AdapterInvalid(f"{CONFIG_FILE} cannot be read ({error.strerror})") from error


def _read_header(tensor_file: Path) -> tuple[dict[str, dict[str, object]], int]:
    """Read the safetensors header, 8 bytes of length and JSON by tensor name, and return it with its end."""
    try:
        size = tensor_file.stat().st_size
        with tensor_file.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 0 < length <= min(HEADER_BYTES_MAX, size - 8) or size > TENSOR_FILE_BYTES_MAX:
                raise AdapterInvalid(f"{TENSOR_FILE} is truncated or oversized ({size} bytes)")
            header: object = json.loads(file.read(length), object_pairs_hook=_unique)
    except OSError as error:
        raise AdapterInvalid(f"{TENSOR_FILE} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise AdapterInvalid(f"the header of {TENSOR_FILE} is not JSON ({error})") from error
    if not isinstance(header, dict) or not all(
        isinstance(entry, dict) for entry in cast("dict[str, object]", header).values()
    ):
        raise AdapterInvalid(f"the header of {TENSOR_FILE} is not a map of tensors")
    return cast("dict[str, dict[str, object]]", header), 8 + length


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a duplicate name: safetensors may check one of the entries and we read the other."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name is there twice")
    return entries


def _stored(entry: Mapping[str, object], body: int) -> StoredTensor:
    """Convert a header entry that safetensors has checked; ``body`` is where the tensors begin."""
    begin, end = cast("list[int]", entry["data_offsets"])
    shape = cast("tuple[int, int]", tuple(cast("list[int]", entry["shape"])))
    return StoredTensor(cast("DType", entry["dtype"]), shape, body + begin, body + end)


def _metadata(entry: Mapping[str, object]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in entry.values()):
        raise AdapterInvalid(f"the metadata of {TENSOR_FILE} is not a map of texts")
    return cast("dict[str, str]", dict(entry))


def _check_fingerprint(metadata: Mapping[str, str], base: BaseModules) -> None:
    made_for = metadata.get(FINGERPRINT_KEY)
    if made_for is not None and base.fingerprint is not None and made_for != base.fingerprint:
        raise AdapterMismatch(
            f"it was made for the base {made_for[:80]}, this engine serves {base.fingerprint}"
        )


def _check_names(header: Mapping[str, object], config: LoraConfig, base: BaseModules) -> tuple[str, ...]:
    """Check that each tensor is of a targeted layer, each layer has A and B, and each target has a layer."""
    sides: dict[str, set[str]] = {}
    for name in header:
        match = _TENSOR_NAME.fullmatch(name)
        if match is None:
            raise AdapterInvalid(f"the tensor {name[:200]} is not a LoRA A or B matrix")
        if match["module"] not in base.linears:
            raise AdapterMismatch(base.lacking(match["module"]))
        if config.target_of(match["module"]) is None:
            raise AdapterInvalid(f"the layer {match['module']} is not among its target_modules")
        sides.setdefault(match["module"], set()).add(match["side"])
    for module, present in sides.items():
        if present != {"A", "B"}:
            missing = ({"A", "B"} - present).pop()
            raise AdapterInvalid(f"the tensor {tensor_name(module, missing)} is missing")
    matched = {config.target_of(module) for module in sides}
    for target in config.targets:
        if target not in matched:
            raise AdapterInvalid(f"no tensor belongs to the target module {target}")
    return tuple(sorted(sides))


def _check_shapes(
    module: str, header: Mapping[str, Mapping[str, object]], rank: int, linear: LinearShape
) -> None:
    for side, expected in (("A", [rank, linear.inputs]), ("B", [linear.outputs, rank])):
        name = tensor_name(module, side)
        entry = header[name]
        if entry.get("dtype") not in _DTYPES:
            raise AdapterInvalid(
                f"the tensor {name} has the type {str(entry.get('dtype'))[:20]}, not a float"
            )
        if entry.get("shape") != expected:
            raise AdapterMismatch(
                f"it was made for another base: {name} should be {expected} and is {entry.get('shape')}"
            )


def _check_file(tensor_file: Path) -> None:
    """Have safetensors check that the header describes the whole file."""
    try:
        with safe_open(str(tensor_file), framework="np"):
            pass
    except SafetensorError as error:
        raise AdapterInvalid(f"{TENSOR_FILE} is damaged ({error})") from error


def _check_values(tensor_file: Path, tensors: Mapping[str, StoredTensor]) -> None:
    with tensor_file.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    for name, tensor in tensors.items():
        if not is_finite(data[tensor.begin : tensor.end], tensor.dtype):
            raise AdapterInvalid(f"the tensor {name} holds NaN or infinity")

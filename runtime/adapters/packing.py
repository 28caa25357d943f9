"""Converts PEFT directories to packed adapters and back; both directions keep every bit."""

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.adapters.base_modules import BaseModules
from populace.adapters.peft_directory import CONFIG_FILE, TENSOR_FILE, PeftAdapter, read_peft_directory
from populace.adapters.tensor_file import TensorFile, tensor_name
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.packed.layout import ITEM_BYTES, Factor, Side
from populace.storage.records.files import replaced_durably, write_durably
from populace.storage.revisions import adapter_digest

SIDES: tuple[Side, Side] = ("A", "B")


def pack_peft_directory(directory: Path, base: BaseModules, *, rank_max: int) -> bytearray:
    """Check a PEFT directory and pack it. Raises as ``read_peft_directory`` and ``pack_peft_adapter``."""
    return pack_peft_adapter(read_peft_directory(directory, base, rank_max=rank_max), base)


def pack_peft_adapter(adapter: PeftAdapter, base: BaseModules) -> bytearray:
    """Pack an adapter that was checked against the base; equal PEFT adapters give equal bytes.

    Raises ``AdapterInvalid`` if it exceeds a limit of the packed format.
    """
    try:
        return pack_adapter(
            _Matrices(adapter),
            _factors(adapter),
            base=base.fingerprint,
            config=adapter.config_bytes,
            rank_scaled=adapter.config.rank_scaled,
            metadata=adapter.metadata,
        )
    except PackedAdapterInvalid as error:
        raise AdapterInvalid(f"it cannot be packed: {error.reason}") from error


def _factors(adapter: PeftAdapter) -> Iterator[Factor]:
    for module in adapter.modules:
        alpha = float(adapter.config.alpha_of(module))
        for side in SIDES:
            tensor = adapter.tensors[tensor_name(module, side)]
            rows, columns = tensor.shape if side == "A" else reversed(tensor.shape)
            yield Factor(module, side, (rows, columns), tensor.dtype, alpha)


class _Matrices(Mapping[tuple[str, Side], bytes]):
    """The matrices of a tensor file, each read on access, so that only one at a time is in memory."""

    def __init__(self, adapter: PeftAdapter) -> None:
        self._adapter = adapter
        with adapter.tensor_file.open("rb") as file:
            self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __getitem__(self, key: tuple[str, Side]) -> bytes:
        module, side = key
        tensor = self._adapter.tensors[tensor_name(module, side)]
        data = self._data[tensor.begin : tensor.end]
        if side == "A":
            return data.tobytes()
        # Unsigned integers of the item's size: transposing must not convert any value.
        return np.frombuffer(data, f"u{ITEM_BYTES[tensor.dtype]}").reshape(tensor.shape).T.tobytes()

    def __iter__(self) -> Iterator[tuple[str, Side]]:
        return ((module, side) for module in self._adapter.modules for side in SIDES)

    def __len__(self) -> int:
        return len(SIDES) * len(self._adapter.modules)


def read_adapter(path: Path, base: BaseModules, *, rank_max: int, digest: str | None = None) -> PackedAdapter:
    """Read a PEFT directory or a packed file, and check all of it against the base.

    ``digest`` names a published revision, which file or directory must match byte for byte. A packed file is
    not searched for NaN again, as that was done before it was published.

    Raises:
        AdapterInvalid: the path is not absolute, or the adapter is damaged, not the revision or not served.
        AdapterMismatch: the adapter was made for another base.
    """
    if not path.is_absolute():
        raise AdapterInvalid(f"its path {str(path)[:200]!r} is not absolute")
    try:
        if path.is_dir():
            check_directory(path, digest)
            return PackedAdapter(memoryview(pack_peft_directory(path, base, rank_max=rank_max)))
        packed = PackedAdapter.open(path)
        if digest is None:
            packed.verify()
        elif packed.digest != digest:
            raise AdapterInvalid(f"its digest is {packed.digest} and not {digest}")
        else:
            packed.check_content()
    except (PackedAdapterInvalid, PackedAdapterVersionMismatch) as error:
        raise AdapterInvalid(f"{error}") from error
    check_packed_adapter(packed, base, rank_max=rank_max)
    return packed


def check_directory(path: Path, digest: str | None) -> None:
    """Raise ``AdapterInvalid`` if the PEFT directory is not the revision; None compares nothing."""
    if digest is None:
        return
    try:
        found, _ = adapter_digest(path)
    except OSError as error:
        raise AdapterInvalid(f"{error.filename} cannot be read ({error.strerror})") from error
    if found != digest:
        raise AdapterInvalid(f"its digest is {found} and not {digest}")


def check_packed_adapter(packed: PackedAdapter, base: BaseModules, *, rank_max: int) -> None:
    """Check that a packed adapter belongs to this base, with an A and a B of one rank for each layer.

    Raises:
        AdapterInvalid: its rank is above ``rank_max``, or a layer lacks A or B or has two ranks.
        AdapterMismatch: the fingerprint, a layer or a shape is another base's.
    """
    if packed.base is not None and base.fingerprint is not None and packed.base != base.fingerprint:
        raise AdapterMismatch(f"it was made for the base {packed.base[:80]}, this is {base.fingerprint}")
    if packed.rank > rank_max:
        raise AdapterInvalid(f"its rank {packed.rank} is above this engine's limit of {rank_max}")
    ranks: dict[str, dict[str, int]] = {}
    for group in packed.groups:
        for factor, _ in group.factors():
            linear = base.linears.get(factor.module)
            if linear is None:
                raise AdapterMismatch(base.lacking(factor.module))
            expected = (group.rank, linear.inputs if group.side == "A" else linear.outputs)
            if factor.shape != expected:
                raise AdapterMismatch(
                    f"it was made for another base: {factor.module} {group.side} should be {expected} "
                    f"and is {factor.shape}"
                )
            ranks.setdefault(factor.module, {})[group.side] = group.rank
    for module, side_ranks in ranks.items():
        if set(side_ranks) != set(SIDES) or len(set(side_ranks.values())) > 1:
            raise AdapterInvalid(f"{module} has not an A and a B of one rank")


def unpack_to_peft_directory(packed: PackedAdapter, directory: Path) -> None:
    """Write the adapter as a PEFT directory with the configuration and tensors that it was packed from.

    Existing files are replaced, each atomically.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with replaced_durably(directory / TENSOR_FILE) as file:
        os.fchmod(file.fileno(), 0o644)
        for piece in TensorFile(packed).pieces():
            file.write(piece)
    write_durably(directory / CONFIG_FILE, packed.config)

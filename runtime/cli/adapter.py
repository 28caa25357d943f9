"""``populace adapter``: packs PEFT adapters, unpacks them, and shows what is in one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from populace.cli.arguments import AsJson, Base
from populace.cli.console import CommandFailed, named_errors, out, print_json
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings

RANK_MAX = 512
"""The largest adapter rank that any engine serves."""

Packed = Annotated[Path, typer.Argument(help="A packed adapter file.", exists=True, dir_okay=False)]


def import_(
    directory: Annotated[
        Path, typer.Argument(help="The directory of a PEFT LoRA adapter.", exists=True, file_okay=False)
    ],
    to: Annotated[Path, typer.Argument(help="The packed adapter file to write.", dir_okay=False)],
    base: Base = None,
) -> None:
    """Check a PEFT LoRA directory against its base, and pack it into one file.

    Examples:
        populace adapter import my-lora/ ada.adapter
    """
    with named_errors():
        _check_parent(to)
        enter_quiet_environment()
        from populace.adapters.base_modules import read_base_modules
        from populace.adapters.packing import pack_peft_directory
        from populace.base.prepare import prepare_base
        from populace.storage.packed.adapter import PackedAdapter
        from populace.storage.records.files import write_durably

        files = prepare_base(base, Settings.from_environment().cache, allow_hub=base is not None)
        modules = read_base_modules(files.directory, files.fingerprint)
        data = pack_peft_directory(directory, modules, rank_max=RANK_MAX)
        write_durably(to, data)
        packed = PackedAdapter(memoryview(data))
        out.print(
            f"{to}: {packed.bytes:,} bytes in {len(packed.groups)} groups, digest {packed.digest}.",
            highlight=False,
            markup=False,
        )


def export(
    packed: Packed,
    directory: Annotated[
        Path, typer.Argument(help="The directory to write the adapter to.", file_okay=False)
    ],
) -> None:
    """Write a packed adapter as the PEFT directory that it was made from.

    Examples:
        populace adapter export ada.adapter my-lora/
    """
    with named_errors():
        if directory.exists() and any(directory.iterdir()):
            raise CommandFailed(f"{directory} is not empty: name a new directory.")
        _check_parent(directory)
        enter_quiet_environment()
        from populace.adapters.packing import unpack_to_peft_directory
        from populace.storage.packed.adapter import PackedAdapter

        adapter = PackedAdapter.open(packed)
        adapter.verify()
        unpack_to_peft_directory(adapter, directory)
        out.print(f"{directory} holds the adapter {adapter.digest}.", highlight=False, markup=False)


def show(packed: Packed, as_json: AsJson = False) -> None:
    """Check every byte of a packed adapter, and show what is in it.

    Examples:
        populace adapter show ada.adapter --json
    """
    with named_errors():
        from populace.storage.packed.adapter import PackedAdapter

        adapter = PackedAdapter.open(packed)
        adapter.verify()
        groups: list[dict[str, Any]] = [
            {
                "modules": group.pattern,
                "side": group.side,
                "matrices": group.matrices,
                "shape": list(group.shape),
                "dtype": group.dtype,
                "alpha": group.alpha,
                "bytes": group.bytes,
            }
            for group in adapter.groups
        ]
        told: dict[str, Any] = {
            "digest": adapter.digest,
            "base": adapter.base,
            "bytes": adapter.bytes,
            "rank": adapter.rank,
            "rank_scaled": adapter.rank_scaled,
        }
        if as_json:
            print_json({**told, "groups": groups})
            return
        summary = Table(show_header=False, box=None)
        for name, value in told.items():
            summary.add_row(name.replace("_", " "), str(value))
        out.print(summary)
        table = Table(box=None)
        for name in groups[0]:
            table.add_column(name, no_wrap=name == "modules")
        for group in groups:
            table.add_row(*(str(value) for value in group.values()))
        out.print(table)


def _check_parent(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise CommandFailed(f"There is no directory {path.absolute().parent}.")

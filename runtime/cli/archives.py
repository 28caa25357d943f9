"""``populace model export`` and ``import``: a personal model as a file."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from populace.archive.layout import SUFFIX
from populace.cli.arguments import AsJson, Name
from populace.cli.console import CommandFailed, named_errors, out, print_json, progress
from populace.cli.gateway_client import Moved, gateway, model_path
from populace.storage.records.files import disk_named, replaced_durably


def export(
    name: Name,
    file: Annotated[
        Path | None,
        typer.Argument(help=f"The file to write. Default: NAME{SUFFIX} in the current directory."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a whole model to a file: its log, memory, revisions and aliases.

    The file is not encrypted, and only you may read it.

    Examples:
        populace model export ada
        populace model export ada ~/keep/ada.populace --force
    """
    with named_errors():
        target = (Path(f"{name}{SUFFIX}") if file is None else file.expanduser()).absolute()
        if target.is_dir():
            raise CommandFailed(f"{target} is a directory; name a file in it.")
        if target.exists() and not force:
            raise CommandFailed(f"{target} exists already; replace it with --force, or name another file.")
        with gateway() as client:
            path = model_path(name, "/export")
            with disk_named(target), replaced_durably(target) as written, _shown("Exporting") as moved:
                client.download(path, written, moved)
        told = f"Exported [bold]{name}[/] to {escape(str(target))}."
        out.print(told, highlight=False, soft_wrap=True)


def import_(
    file: Annotated[Path, typer.Argument(help="A file that `populace model export` wrote.")],
    name: Annotated[
        str | None, typer.Option(help="The new model's name. Default: the exported model's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a model from an exported file, with its log, memory, revisions and aliases.

    Examples:
        populace model import ada.populace
        populace model import ada.populace --name ada-2
    """
    with named_errors():
        try:
            source = file.expanduser().open("rb")
        except OSError as error:
            raise CommandFailed(f"{file} cannot be read: {error.strerror}.") from error
        with (
            source,
            gateway() as client,
            _shown("Importing") as moved,
        ):
            query = {} if name is None else {"name": name}
            body = client.upload("/v1/personal-models/import", source, moved, params=query)
        if as_json:
            print_json(body)
        else:
            out.print(f"Imported [bold]{body['id']}[/]: {body['log_position']} turns.", highlight=False)


@contextlib.contextmanager
def _shown(doing: str) -> Generator[Moved]:
    with progress() as display:
        task = display.add_task(doing, total=None)

        def moved(count: int, total: int) -> None:
            display.update(task, advance=count, total=total)

        yield moved

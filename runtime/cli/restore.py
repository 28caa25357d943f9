"""``populace restore``: makes a data directory from a backup and the key file."""

from pathlib import Path
from typing import Annotated

import typer

from populace.cli.console import counted, named_errors, out, print_json, reporting
from populace.settings.settings import Settings

EXAMPLES = """Examples:

populace restore /backups/monday --keys /safe/populace.keys --data ./restored

populace restore /backups/monday --keys /safe/populace.keys --data ./restored --erasures-of ./my-data
"""


def restore(
    directory: Annotated[Path, typer.Argument(help="The backup's directory.", metavar="DIR")],
    keys: Annotated[Path, typer.Option("--keys", help="The newest key file.", metavar="FILE")],
    data: Annotated[
        Path | None, typer.Option(help="The new data directory, absent or empty. Default: POPULACE_DATA.")
    ] = None,
    erasures_of: Annotated[
        Path | None,
        typer.Option(
            help="A data directory of the same store; models erased there stay erased.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out models whose keys FILE does not have, and go on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Restore a backup into a new data directory.

    Everything is checked first; an error leaves nothing in the directory.
    Models erased since the backup are left out, as far as FILE or
    --erasures-of records them. API keys are as they were when the backup was made:
    revoke again those that were revoked since.
    """
    with named_errors():
        from populace.storage.backups.restore import restore_backup

        settings = Settings.from_environment(data=data)
        with reporting() as report:
            restored = restore_backup(
                directory,
                keys,
                settings.data,
                erasures_of=erasures_of,
                master_key=settings.master_key,
                partial=partial,
                report=report,
            )
        if as_json:
            print_json({**restored._asdict(), "data": str(settings.data)})
            return
        out.print(
            f"Restored {counted(restored.models, 'model')}, {counted(restored.adapters, 'adapter')} and "
            f"{counted(restored.api_keys, 'API key')} to {settings.data}.",
            highlight=False,
        )
        if restored.erased:
            out.print(f"Left out {counted(restored.erased, 'model')}: erased.", highlight=False)
        if restored.lacking:
            out.print(f"Left out {counted(restored.lacking, 'model')}: {keys} has no key.", highlight=False)

"""``populace backup``: copy the store to a directory while it is served, and its keys to a file."""

import time
from pathlib import Path
from typing import Annotated

import typer

from populace.cli.arguments import AsJson, Data
from populace.cli.console import CommandFailed, counted, named_errors, out, print_json, reporting, warn
from populace.settings.settings import Settings


def backup(
    keys: Annotated[
        Path,
        typer.Option(
            "--keys",
            help="The key file for all backups of this store; an existing one is replaced.",
            metavar="FILE",
        ),
    ],
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="The directory to write the backup to; it must be absent or empty.", metavar="DIR"
        ),
    ] = None,
    data: Data = None,
    keys_only: Annotated[
        bool,
        typer.Option("--keys-only", help="Renew only the key file, which removes the keys of erased models."),
    ] = False,
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Back up a directory with whose store another machine went on since."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up the store, also while it is being served.

    DIR holds everything but the keys: nothing in it can be read without FILE.
    FILE opens all backups of the store. Keep it apart from them, and keep no
    older copies: an old key file still opens, in old backups, models that were
    erased since.

    Examples:
        populace backup /backups/monday --keys /safe/populace.keys
        populace backup --keys /safe/populace.keys --keys-only
    """
    with named_errors():
        if (directory is None) != keys_only:
            raise CommandFailed("Name a directory for the backup, or renew the keys alone with --keys-only.")
        from populace.cluster.store_opening import refuse_former_if_known
        from populace.storage.backup_note import note_finished
        from populace.storage.backups.backup import write_backup, write_keys
        from populace.storage.store import Store

        settings = Settings.from_environment(data=data)
        store = Store.open(settings.data, master_key=settings.master_key)
        if not stale:
            refuse_former_if_known(settings.data, warn)
        now_ms = time.time_ns() // 1_000_000
        with reporting() as report:
            if directory is None:
                models = write_keys(store, keys, now_ms=now_ms, report=report)
                counts, damaged = {"models": models}, tuple[str, ...]()
            else:
                written = write_backup(store, directory, keys, now_ms=now_ms, report=report)
                note_finished(settings.data, time.time_ns() // 1_000_000)
                counts = written.model_dump(include={"models", "adapters", "api_keys", "erasures"})
                damaged = written.damaged
        if as_json:
            told = counts if directory is None else {**counts, "damaged": damaged}
            print_json({**told, "directory": directory and str(directory), "keys": str(keys)})
        elif directory is None:
            out.print(f"{keys} opens the backups of {counted(counts['models'], 'model')}.", highlight=False)
        else:
            out.print(
                f"Backed up {counted(counts['models'], 'model')}, {counted(counts['adapters'], 'adapter')} "
                f"and {counted(counts['api_keys'], 'API key')} to {directory}.\n"
                f"Their keys are in {keys}: keep it, and keep it apart.",
                highlight=False,
            )
        if damaged:
            raise CommandFailed(
                f"{counted(len(damaged), 'adapter')} of the store cannot be read and are not in the backup: "
                f"{', '.join(damaged)}. All else is; their models answer after a rollback."
            )

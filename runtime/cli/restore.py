"""``populace restore``: makes a data directory from a backup and the key file, or from a journal."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from populace.cli.arguments import AsJson
from populace.cli.console import CommandFailed, counted, named_errors, out, print_json, reporting, warn
from populace.settings.settings import Settings

JOURNAL_MARK = "://"
"""What a journal's URL has, and a directory has not."""


def restore(
    source: Annotated[
        str, typer.Argument(help="A backup's directory, or a journal's URL.", metavar="DIR|URL")
    ],
    keys: Annotated[
        Path | None, typer.Option("--keys", help="The newest key file of the backups.", metavar="FILE")
    ] = None,
    master_key: Annotated[
        Path | None,
        typer.Option("--master-key", help="The file of the store's master key, for a journal."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Restore a journal as it was at a local time such as 2026-11-30T16:00."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="The id of the store, if the journal's bucket has several.")
    ] = None,
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
    stale: Annotated[
        bool,
        typer.Option(
            "--stale", help="Take the erasures of a directory with whose store another machine went on since."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Restore into a directory beside it that is removed: does it work?"),
    ] = False,
    expect: Annotated[
        str | None,
        typer.Option(help="End with 1 if the newest commit in the journal is of before this local time."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup, or a journal, into a new data directory.

    Everything is checked first; an error leaves nothing in the directory.
    Of a backup, models erased since are left out, as far as FILE or
    --erasures-of records them. Of a journal they always are. API keys are as they
    were then: revoke again those that were revoked since.

    What is restored of a journal goes on with it when it is served with the same
    POPULACE_JOURNAL, and the former directory cannot write any more. With --at it
    becomes a store of its own.

    Examples:
        populace restore /backups/monday --keys /safe/populace.keys --data ./restored
        populace restore /backups/monday --keys /safe/populace.keys --data ./restored --erasures-of ./my-data
        populace restore s3://my-bucket/populace --master-key /safe/master.key --data ./restored
        populace restore s3://my-bucket/populace --master-key /safe/master.key --at 2026-11-30T16:00
        populace restore s3://my-bucket/populace --master-key /safe/master.key --check --expect 2026-11-30
    """
    with named_errors(), _directory(data, check=check, as_json=as_json) as settings:
        if JOURNAL_MARK in source:
            if keys is not None or erasures_of is not None or partial:
                raise CommandFailed("--keys, --erasures-of and --partial are for backups.")
            _restore_journal(settings, source, master_key, at, store, expect=expect, as_json=as_json)
            return
        if any(option is not None for option in (master_key, at, store, expect)):
            raise CommandFailed(
                "--master-key, --at, --store and --expect are for a journal, whose URL has ://."
            )
        if keys is None:
            raise CommandFailed("A backup is opened by its key file: name it with --keys.")
        from populace.cluster.store_opening import refuse_former_if_known
        from populace.storage.backups.restore import restore_backup

        if erasures_of is not None and not stale:
            refuse_former_if_known(erasures_of, warn)
        directory = Path(source)
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


def _restore_journal(
    settings: Settings,
    url: str,
    master_key: Path | None,
    at: str | None,
    store_id: str | None,
    *,
    expect: str | None,
    as_json: bool,
) -> None:
    from populace.storage.journal.opening import open_bucket
    from populace.storage.journal.restoring import restore_store

    key = master_key or settings.master_key
    if key is None:
        raise CommandFailed("A journal is opened by the store's master key: name its file with --master-key.")
    expected_ms = 0 if expect is None else _milliseconds("--expect", expect)
    with reporting() as report:
        restored = restore_store(
            open_bucket(url),
            settings.data,
            key,
            report=report,
            store_id=store_id,
            at_ms=None if at is None else _milliseconds("--at", at),
        )
    if as_json:
        shards = [shard._asdict() for shard in restored.shards]
        print_json({**restored._asdict(), "shards": shards, "data": str(settings.data)})
        newest_ms = max(shard.written_ms for shard in restored.shards)
        if restored.damaged or newest_ms < expected_ms:
            raise typer.Exit(1)
        return
    out.print(
        f"Restored {counted(restored.models, 'model')}, {counted(restored.adapters, 'adapter')} and "
        f"{counted(restored.api_keys, 'API key')} to {settings.data}, with its master key.",
        highlight=False,
    )
    newest = max(restored.shards, key=lambda shard: shard.written_ms)
    when = datetime.fromtimestamp(newest.written_ms / 1000).astimezone()
    out.print(
        f"The newest commit in the journal is of {when:%Y-%m-%d %H:%M:%S}: if more was acknowledged after "
        "that, its end is lost (--json has each shard).",
        highlight=False,
    )
    if restored.lacking:
        out.print(f"The journal lacks {counted(restored.lacking, 'adapter')}.", highlight=False)
    if restored.damaged:
        raise CommandFailed(
            f"{counted(len(restored.damaged), 'adapter')} in the journal cannot be used and were left out: "
            f"{', '.join(restored.damaged)}. The rest was restored; their models answer after a rollback."
        )
    if newest.written_ms < expected_ms:
        raise CommandFailed(f"The newest commit in the journal is older than {expect}: its end is lost.")


@contextmanager
def _directory(data: Path | None, *, check: bool, as_json: bool) -> Generator[Settings]:
    """Yield the settings with the directory to restore into; one to ``check`` with is removed afterwards."""
    settings = Settings.from_environment(data=data)
    if not check:
        yield settings
        return
    beside = settings.data.absolute().parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=f"{settings.data.name}-check-") as name:
        yield settings.model_copy(update={"data": Path(name)})
    if not as_json:
        out.print("It was a check: nothing of it was kept.", highlight=False)


def _milliseconds(option: str, at: str) -> int:
    try:
        return int(datetime.fromisoformat(at).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise CommandFailed(f"{option} {at!r} is no time such as 2026-11-30T16:00.") from None

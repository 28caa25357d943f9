"""``populace reshard``: gives a store another number of shards while it is not served."""

from typing import Annotated

import typer

from populace.cli.arguments import AsJson, Data
from populace.cli.console import counted, named_errors, out, print_json, reporting, warn
from populace.settings.settings import Settings
from populace.storage.header import SHARDS_MAX


def reshard(
    shards: Annotated[
        int, typer.Argument(help="The new number of shards.", min=1, max=SHARDS_MAX, metavar="SHARDS")
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give a store another number of shards. Stop `populace serve` first.

    All rows are moved to new shards beside the old ones, which takes as much
    free disk as the rows have, and checked there. If it is interrupted at any
    moment, the store is as it was, or has all of its new shards. No key is read.
    More shards let more hosts share the work; a shard is written by one host.

    Examples:
        populace reshard 64
        populace reshard 256 --data ./my-data
    """
    with named_errors():
        from populace.cluster.store_opening import refuse_former_if_known
        from populace.policies import placement
        from populace.storage.journal.former import note_whole
        from populace.storage.resharding.reshard import reshard as reshard_store

        settings = Settings.from_environment(data=data)
        refuse_former_if_known(settings.data, warn)
        note_whole(settings.data)
        with reporting() as report:
            moved = reshard_store(settings.data, shards, placement=placement, report=report)
        if as_json:
            counts = {"former": shards, "shards": shards} if moved is None else moved._asdict()
            print_json({**counts, "data": str(settings.data)})
        elif moved is None:
            out.print(f"{settings.data} has {counted(shards, 'shard')} already.", highlight=False)
        else:
            out.print(
                f"{settings.data} has {counted(shards, 'shard')} now, {moved.former} before: moved "
                f"{counted(moved.models, 'model')} and {counted(moved.api_keys, 'API key')} "
                f"({counted(moved.rows, 'row')}).",
                highlight=False,
            )

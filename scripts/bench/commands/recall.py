"""``populace bench recall``: measures what a memory does to the replies that a person gets."""

from pathlib import Path
from typing import Annotated

import typer

from populace.base.memory_module import SHIPPED
from populace.cli.console import CommandFailed, named_errors
from populace.settings.settings import Settings
from scripts.bench.commands.options import AsJson, reporting_quietly, show


def recall(
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of random seeds; each draws different facts and wordings.")
    ] = 1,
    requests: Annotated[int, typer.Option(min=1, help="Requests of each set and seed, at most.")] = 120,
    memory_module: Annotated[
        str, typer.Option(help="File of a memory module, or the name of the module shipped for the base.")
    ] = SHIPPED,
    way: Annotated[
        str,
        typer.Option(
            help="What the model knows a person by: memory, nothing, history, retrieval, notes, "
            "neighbours, memory and retrieval, memory and history."
        ),
    ] = "memory",
    only: Annotated[
        str | None,
        typer.Option(
            help="Measure only these sets, comma separated: general, generated, tellings, chat, "
            "never-told, instructions. Default: all."
        ),
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Directory of the held-out sets. Default: the checkout's.")
    ] = None,
    replies: Annotated[
        Path | None,
        typer.Option(
            help="Write each question asked in a new conversation, and its reply, to this JSON lines file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a memory remembers, and its effect on everything else, over whole replies.

    Examples: `populace bench recall --only general,tellings --requests 40`, and `--way retrieval`
    for what a search in the log finds. One seed of all sets takes about 25 minutes on two cores. Run it
    in a checkout, which has the held-out sets.
    """
    with named_errors():
        with reporting_quietly() as report:
            from scripts.bench.recall.bench import SETS, RecallBench, RecallImpossible, bench_recall
            from scripts.bench.recall.held_out import HeldOutInvalid, find_held_out
            from scripts.bench.recall.person import WAYS

            sets = SETS if only is None else tuple(name.strip() for name in only.split(","))
            if not set(sets) <= set(SETS):
                raise typer.BadParameter(f"--only takes {', '.join(SETS)}: {only!r}")
            if replies is not None:
                try:
                    replies.touch()
                except OSError as error:
                    raise typer.BadParameter(f"--replies {replies}: {error.strerror}") from error
            if way not in WAYS:
                raise typer.BadParameter(f"--way is one of {', '.join(WAYS)}: {way!r}")
            try:
                bench = RecallBench(
                    held_out=find_held_out(held_out, Path.cwd()),
                    module=memory_module,
                    way=way,
                    sets=tuple(name for name in SETS if name in sets),
                    seeds=seeds,
                    requests=requests,
                    replies=replies,
                )
                result = bench_recall(bench, Settings.from_environment(), report)
            except (HeldOutInvalid, RecallImpossible) as error:
                raise CommandFailed(str(error)) from error
        show(result, as_json=as_json)

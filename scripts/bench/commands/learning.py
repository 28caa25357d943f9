"""``populace bench training``, ``handoff`` and ``ask``: costs of learning and of asking many models."""

from pathlib import Path
from typing import Annotated

import typer

from populace.cli.console import named_errors
from populace.settings.settings import Settings
from scripts.bench.commands.options import AsJson, numbers, reporting_quietly, show


def training(
    people: Annotated[
        str, typer.Option(help="Numbers of people trained at once, comma separated.")
    ] = "1,4,8,16",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 3,
    rank: Annotated[int, typer.Option(min=1, help="Rank of each person's adapter.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Training steps for each person.")] = 8,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences of each person in a step.")] = 4,
    tokens_max: Annotated[
        int, typer.Option(min=4, max=2000, help="Length of the longest sequence in tokens.")
    ] = 48,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the loss curves, overlaid, to this SVG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare training people in shared steps with training them one after the other with PEFT.

    Example: `populace bench training --people 1,8 --svg curves.svg`. Takes about ten minutes on two cores.
    """
    with named_errors():
        counts = numbers(people, "--people")
        from populace.pictures.curves import curves_picture
        from populace.pictures.figures import require_matplotlib

        if svg is not None:
            require_matplotlib()
        with reporting_quietly() as report:
            from scripts.bench.training.bench import TrainingBench, bench_training

            bench = TrainingBench(
                counts, rounds, rank, steps, sequences, (max(2, tokens_max // 3), tokens_max)
            )
            result, curves = bench_training(bench, Settings.from_environment(), report)
        if svg is not None:
            svg.write_text(
                curves_picture("Loss of one person, in nats per token", curves, broad="PEFT"),
                encoding="utf-8",
            )
        show(result, as_json=as_json)


def handoff(
    rounds: Annotated[int, typer.Option(min=1, help="Number of adapters handed over.")] = 8,
    merged: Annotated[int, typer.Option(min=1, help="Number of merged models handed over.")] = 2,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Measure from an optimiser's step to the first token: the adapter alone against merge and reload.

    Example: `populace bench handoff --rounds 2 --merged 1`. The full run takes three minutes on two cores.
    """
    with named_errors():
        with reporting_quietly() as report:
            from scripts.bench.handoff import HandoffBench, bench_handoff

            result = bench_handoff(HandoffBench(rounds, merged, rank), Settings.from_environment(), report)
        show(result, as_json=as_json)


def ask(
    members: Annotated[str, typer.Option(help="Numbers of members asked, comma separated.")] = "1,4,16,64",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 3,
    reply_tokens: Annotated[
        int, typer.Option(min=1, max=256, help="Largest length of a reply in tokens.")
    ] = 16,
    as_json: AsJson = False,
) -> None:
    """Compare members that answer together with as many single requests, concurrent and sequential.

    Example: `populace bench ask --members 1,4 --rounds 1`. The full run takes about six minutes on two cores.
    """
    with named_errors():
        counts = numbers(members, "--members")
        with reporting_quietly() as report:
            from scripts.bench.ask import AskBench, bench_ask

            result = bench_ask(AskBench(counts, rounds, reply_tokens), Settings.from_environment(), report)
        show(result, as_json=as_json)

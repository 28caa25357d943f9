"""``populace bench training``, ``handoff`` and ``ask``: what learning costs, and asking many that learned."""

from pathlib import Path
from typing import Annotated

import typer

from populace.cli.bench_options import AsJson, numbers, reporting_quietly, show
from populace.cli.console import named_errors
from populace.settings.settings import Settings


def training(
    people: Annotated[str, typer.Option(help="People at once, comma separated.")] = "1,4,8,16",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 3,
    rank: Annotated[int, typer.Option(min=1, help="Of each one's adapter.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each one's training.")] = 8,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences of each one in a step.")] = 4,
    tokens_max: Annotated[int, typer.Option(min=4, max=2000, help="Tokens of the longest sequence.")] = 48,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the loss curves, laid over each other, into this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """People trained in shared steps against one after the other with PEFT.

    Example: `populace bench training --people 1,8 --svg curves.svg`. Takes about ten minutes on two cores.
    """
    with named_errors():
        counts = numbers(people, "--people")
        with reporting_quietly() as report:
            from populace.bench.training import TrainingBench, bench_training
            from populace.pictures.curves import curves_picture

            bench = TrainingBench(
                counts, rounds, rank, steps, sequences, (max(2, tokens_max // 3), tokens_max)
            )
            result, curves = bench_training(bench, Settings.from_environment(), report)
        if svg is not None:
            svg.write_text(
                curves_picture("Loss of one person, in nats a token", curves, broad="PEFT"), encoding="utf-8"
            )
        show(result, as_json=as_json)


def handoff(
    rounds: Annotated[int, typer.Option(min=1, help="Adapters handed over.")] = 8,
    merged: Annotated[int, typer.Option(min=1, help="Merged models handed over.")] = 2,
    rank: Annotated[int, typer.Option(min=1, help="Of the adapter.")] = 8,
    as_json: AsJson = False,
) -> None:
    """From an optimiser's step to the first token: the adapter alone, against merging and reloading.

    Example: `populace bench handoff --rounds 2 --merged 1`. All of it takes three minutes on two cores.
    """
    with named_errors():
        with reporting_quietly() as report:
            from populace.bench.handoff import HandoffBench, bench_handoff

            result = bench_handoff(HandoffBench(rounds, merged, rank), Settings.from_environment(), report)
        show(result, as_json=as_json)


def ask(
    members: Annotated[str, typer.Option(help="Members asked, comma separated.")] = "1,4,16,64",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 3,
    reply_tokens: Annotated[int, typer.Option(min=1, max=256, help="Tokens of a reply at most.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Members that answer together, against as many requests at once and one after the other.

    Example: `populace bench ask --members 1,4 --rounds 1`. All of it takes about six minutes on two cores.
    """
    with named_errors():
        counts = numbers(members, "--members")
        with reporting_quietly() as report:
            from populace.bench.ask import AskBench, bench_ask

            result = bench_ask(AskBench(counts, rounds, reply_tokens), Settings.from_environment(), report)
        show(result, as_json=as_json)

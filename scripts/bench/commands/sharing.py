"""``populace bench tenants`` and ``people``: what it costs to share a service, and a batch."""

from typing import Annotated

import typer

from populace.actors.engine import EngineKind
from populace.cli.console import CommandFailed, named_errors
from populace.settings.settings import Settings
from scripts.bench.commands.options import AsJson, numbers, reporting_quietly, show


def tenants(
    quiet: Annotated[int, typer.Option(min=1, help="Tenants that ask now and then.")] = 10,
    rounds: Annotated[
        int, typer.Option(min=0, help="Measured rounds, alone and beside each flood; 0: neither.")
    ] = 3,
    requests: Annotated[int, typer.Option(min=1, help="Requests that each sends in a round.")] = 4,
    streams: Annotated[int, typer.Option(min=1, help="Replies that the flood asks for at once.")] = 200,
    jobs: Annotated[
        int, typer.Option(min=0, help="Trainings of the flood, behind which a quiet tenant asks for one.")
    ] = 1000,
    limit_seconds: Annotated[
        int, typer.Option(min=0, help="How long a flood is measured against each limit of its tenant.")
    ] = 60,
    engine: Annotated[str, typer.Option(help="Engine of the Populace: auto, vllm or torch.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Flood a Populace as one tenant, and measure what others wait for and whether limits hold.

    Examples: `populace bench tenants --rounds 1 --json`, which takes some minutes on two cores, and
    `populace bench tenants --rounds 0` for the limits alone.
    """
    with named_errors(), reporting_quietly() as report:
        from scripts.bench.processes import BenchFailed
        from scripts.bench.tenants.bench import TenantsBench, bench_tenants

        bench = TenantsBench(
            quiet,
            rounds,
            requests,
            streams=streams,
            jobs=jobs if rounds else 0,
            engine=engine,
            limit_seconds=limit_seconds,
        )
        try:
            result = bench_tenants(bench, report=report)
        except BenchFailed as error:
            raise CommandFailed(str(error)) from error
    show(result, as_json=as_json)


def people(
    people: Annotated[
        str, typer.Option(help="Numbers of different people in the batch, comma separated.")
    ] = "1,4,8,16",
    streams: Annotated[int, typer.Option(min=1, help="Replies at a time.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds, after one that warms up.")] = 5,
    requests: Annotated[int, typer.Option(min=1, help="Requests that each stream sends in a round.")] = 2,
    reply_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each reply.")] = 48,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 8,
    engine: Annotated[EngineKind, typer.Option(help="The engine to measure.")] = "vllm",
    as_json: AsJson = False,
) -> None:
    """Compare a batch of different people, with and without memories, with one of the base alone.

    Example: `populace bench people --people 4,16 --json`. Takes about ten minutes on two cores.
    """
    with named_errors():
        counts = numbers(people, "--people")
        if max(counts) > streams:
            raise typer.BadParameter(f"--people {max(counts)} is more than the {streams} of --streams.")
        with reporting_quietly() as report:
            from scripts.bench.people import PeopleBench, bench_people

            bench = PeopleBench(counts, streams, rounds, requests, reply_tokens, rank, engine)
            result = bench_people(bench, Settings.from_environment(), report)
        show(result, as_json=as_json)

"""``populace bench failover``: what is lost when processes and machines are."""

from typing import Annotated

import typer

from populace.cli.console import CommandFailed, named_errors
from scripts.bench.commands.options import AsJson, Data, choices, on_disk, reporting_quietly, show


def failover(
    rounds: Annotated[int, typer.Option(min=1, help="How often each kind of loss is repeated.")] = 5,
    clients: Annotated[int, typer.Option(min=1, help="People who talk meanwhile, each to a model.")] = 8,
    turns: Annotated[
        int, typer.Option(min=16, help="Turns of a round in which the cost of the journal is measured.")
    ] = 320,
    losses: Annotated[
        str, typer.Option(help="What is measured: processes, store, links, journal, comma separated.")
    ] = "processes,store,links,journal",
    engine: Annotated[
        str, typer.Option(help="Engine of the Populace whose processes are killed: auto, vllm or torch.")
    ] = "auto",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Kill processes, hosts and whole machines while people talk, and count what was lost.

    Example: `populace bench failover --losses store --rounds 2 --json`. All takes fifteen minutes, and leaves
    nothing behind.
    """
    with named_errors():
        directory = on_disk(data)
        with reporting_quietly() as report:
            from scripts.bench.failover.bench import LOSSES, FailoverBench, bench_failover
            from scripts.bench.failover.journal_latency import LatencyBench
            from scripts.bench.failover.processes import ProcessBench
            from scripts.bench.processes import BenchFailed

            bench = FailoverBench(
                rounds,
                clients,
                losses=choices(losses, "--losses", LOSSES),
                processes=ProcessBench(rounds, clients, engine=engine),
                latency=LatencyBench(turns=turns, rounds=rounds),
            )
            try:
                result = bench_failover(bench, directory, report=report)
            except BenchFailed as error:
                raise CommandFailed(str(error)) from error
        show(result, as_json=as_json)

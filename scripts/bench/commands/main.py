"""``populace bench``: measures Populace beside an alternative, and says which aims are met."""

import contextlib
import signal
import sys
from functools import partial
from typing import Annotated, Literal, cast, get_args

import typer

from populace.actors.engine import EngineKind
from populace.cli.console import CommandFailed, err, named_errors, reporting
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings
from scripts.bench.commands.cluster import cluster_simulation
from scripts.bench.commands.failover import failover
from scripts.bench.commands.learning import ask, handoff, training
from scripts.bench.commands.options import (
    AsJson,
    Data,
    numbers,
    on_disk,
    positive,
    reporting_quietly,
    show,
)
from scripts.bench.commands.recall import recall
from scripts.bench.commands.sharing import people, tenants

app = typer.Typer(no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure this machine and compare the results with the aims."""
    # Handled as Ctrl-C, which also ends the bench's processes and removes its files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@app.command()
def serve(
    streams: Annotated[str, typer.Option(help="Numbers of concurrent clients, comma separated.")] = "1,4,16",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 5,
    requests: Annotated[int, typer.Option(min=1, help="Requests that each client sends in a round.")] = 2,
    reply_tokens: Annotated[int, typer.Option(min=2, help="Length of each reply in tokens.")] = 48,
    adapters: Annotated[
        int, typer.Option(min=0, help="Number of different LoRA adapters; 0 measures the base model alone.")
    ] = 4,
    structured: Annotated[
        bool, typer.Option(help="Measure replies that are held to a JSON schema as well.")
    ] = True,
    telemetry: Annotated[
        bool,
        typer.Option(
            "--telemetry", help="Compare Populace with itself: no request, 1 % and all of them traced."
        ),
    ] = False,
    nodes: Annotated[
        int, typer.Option(min=1, help="Nodes with a replica each, against as many `vllm serve` in turn.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Compare the gateway, serving personal models, with `vllm serve`.

    Example: `populace bench serve --streams 1,4,16 --json`. Takes about 22 minutes on two cores. With
    `--telemetry` four Populaces run at once, and replies are free text. With `--nodes 2` the second node is
    on this machine, too.
    """
    with named_errors():
        counts = numbers(streams, "--streams")
        enter_quiet_environment()
        from scripts.bench.processes import BenchFailed
        from scripts.bench.serve import ServeBench, bench_serve
        from scripts.bench.serve_nodes import bench_nodes
        from scripts.bench.serve_telemetry import bench_telemetry

        is_structured = structured and not telemetry
        bench = ServeBench(counts, rounds, requests, reply_tokens, adapters, is_structured)
        if telemetry:
            run = bench_telemetry
        elif nodes > 1:
            run = partial(bench_nodes, nodes=nodes)
        else:
            run = bench_serve
        try:
            with err.status("Starting") as status, contextlib.redirect_stdout(sys.stderr):
                report = run(bench, Settings.from_environment(), report=status.update)
        except BenchFailed as error:
            raise CommandFailed(str(error)) from error
        show(report, as_json=as_json)


@app.command()
def memory(
    engines: Annotated[str, typer.Option(help="Engines, comma separated.")] = "vllm,torch",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 5,
    reply_tokens: Annotated[int, typer.Option(min=2, help="Length of each reply in tokens.")] = 48,
    prompt_tokens: Annotated[
        int, typer.Option(min=2, max=2000, help="Length of each prompt in tokens.")
    ] = 256,
    rule: Annotated[
        Literal["gated", "published"],
        typer.Option(
            help="Memory module: with gates (open and closed), or one that every token reads and writes."
        ),
    ] = "gated",
    as_json: AsJson = False,
) -> None:
    """Measure what a memory costs an engine: the same requests with and without one.

    Example: `populace bench memory --json`. Takes about ten minutes on two cores.
    """
    with named_errors():
        chosen = tuple(engine.strip() for engine in engines.split(","))
        if not set(chosen) <= set(kinds := get_args(EngineKind)):
            raise typer.BadParameter(f"--engines takes {' and '.join(kinds)}: {engines!r}")
        with reporting_quietly() as report:
            from scripts.bench.memory import MemoryBench, bench_memory

            result = bench_memory(
                MemoryBench(
                    rule, cast("tuple[EngineKind, ...]", chosen), rounds, reply_tokens, prompt_tokens
                ),
                Settings.from_environment(),
                report,
            )
        show(result, as_json=as_json)


@app.command()
def identities(
    n: Annotated[int, typer.Option("--n", min=100, help="Personal models to create.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Measure a host with many identities: create, look up, activate, passivate, restart.

    Example: `populace bench identities --n 1000000`. A million takes about ten minutes on two cores.
    """
    with named_errors():
        with reporting_quietly() as report:
            from scripts.bench.identities import bench_identities

            result = bench_identities(n, report=report)
        show(result, as_json=as_json)


@app.command()
def store(
    models: Annotated[
        str, typer.Option(help="Numbers of models that commit at once, comma separated.")
    ] = "1,16,64,256",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side; medians are reported.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of a round in seconds.")] = 1.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Measure a shard with many models: durable turns in groups and one by one, reads, activation.

    Example: `populace bench store --models 16,256 --json`. Takes a minute and leaves nothing behind.
    """
    with named_errors():
        counts = numbers(models, "--models")
        from scripts.bench.store import StoreBench, bench_store

        directory = on_disk(data)
        with reporting() as report:
            result = bench_store(StoreBench(counts, rounds, seconds), directory, report=report)
        show(result, as_json=as_json)


@app.command()
def cliff(
    slots: Annotated[int, typer.Option(min=1, help="Adapter slots of the engine.")] = 4,
    ratios: Annotated[
        str, typer.Option(help="Ratios of adapters in use to adapter slots, comma separated.")
    ] = "0.5,1,2,4,8,16",
    clients: Annotated[
        int, typer.Option(min=1, help="Concurrent clients; each sends one request after the other.")
    ] = 8,
    requests: Annotated[int, typer.Option(min=1, help="Requests that each client sends in a round.")] = 6,
    reply_tokens: Annotated[
        int, typer.Option(min=2, help="Mean length of a reply in tokens; lengths vary by half of it.")
    ] = 24,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Use more adapters in turn than an engine has slots, and compare with unchanged vLLM.

    Example: `populace bench cliff --ratios 0.5,8 --rounds 1`. The full run takes half an hour on two cores.
    """
    with named_errors():
        sets = positive(ratios, "--ratios")
        with reporting_quietly() as report:
            from scripts.bench.cliff import CliffBench, bench_cliff

            bench = CliffBench(slots, sets, clients, requests, reply_tokens, rounds)
            result = bench_cliff(bench, Settings.from_environment(), report)
        show(result, as_json=as_json)


@app.command()
def readiness(
    models: Annotated[
        int,
        typer.Option(min=2, help="Number of warm models and of adapter slots; half of the models change."),
    ] = 8,
    revisions: Annotated[int, typer.Option(min=1, help="New revisions published in a round.")] = 32,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of a round in seconds.")] = 64.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests per second, over all models.")] = 1.5,
    reply_tokens: Annotated[int, typer.Option(min=2, help="Length of each reply in tokens.")] = 12,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Publish revisions under load: measure the delay of other requests and of the first ones for each.

    Example: `populace bench readiness --revisions 8 --seconds 16 --rounds 1`. The full run takes ten minutes
    on two cores.
    """
    with named_errors():
        with reporting_quietly() as report:
            from scripts.bench.readiness import ReadinessBench, bench_readiness

            bench = ReadinessBench(models, revisions, seconds, rate, reply_tokens, rounds)
            result = bench_readiness(bench, Settings.from_environment(), report)
        show(result, as_json=as_json)


@app.command()
def catalogue(
    n: Annotated[int, typer.Option(min=1000, help="Number of identities.")] = 1_000_000,
    adapters: Annotated[int, typer.Option(min=100, help="Number of distinct adapters among them.")] = 10_000,
    asks: Annotated[
        int, typer.Option(min=2, help="Number of identities asked, each with a different adapter.")
    ] = 64,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Measure a million identities over ten thousand adapters: build, audit, look up, activate, first token.

    Example: `populace bench catalogue --n 100000 --adapters 1000`. The full run takes ten minutes on two
    cores and 3 GB of disk; nothing is left behind.
    """
    with named_errors():
        where = on_disk(data)
        with reporting_quietly() as report:
            from scripts.bench.catalogue import CatalogueBench, bench_catalogue

            bench = CatalogueBench(n, adapters, asks=asks)
            result = bench_catalogue(bench, Settings.from_environment(), where, report)
        show(result, as_json=as_json)


@app.command()
def packed(
    layers: Annotated[int, typer.Option(min=1, help="Layers of the generated model.")] = 48,
    experts: Annotated[int, typer.Option(min=1, help="Experts in each of its layers.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 7,
    loads: Annotated[
        str, typer.Option(help="Numbers of adapters loaded at once, comma separated.")
    ] = "4,8,16",
    as_json: AsJson = False,
) -> None:
    """Compare packed adapters with one tensor per matrix: objects, bytes, reading, building, loading.

    Example: `populace bench packed --layers 4 --experts 8`. The full run takes about three minutes on two
    cores.
    """
    with named_errors():
        counts = numbers(loads, "--loads")
        if max(counts) > 16:
            raise typer.BadParameter(f"--loads takes numbers of up to 16: {loads!r}")
        with reporting_quietly() as report:
            from scripts.bench.packed import PackedBench, bench_packed

            bench = PackedBench(layers, experts, rounds, counts)
            result = bench_packed(bench, Settings.from_environment(), report)
        show(result, as_json=as_json)


@app.command()
def soak(
    identities: Annotated[int, typer.Option(min=1000, help="Personal models to create.")] = 1_000_000,
    active: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the models that get turns, 0 to 1.")
    ] = 0.01,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of the run in seconds.")] = 60.0,
    turns: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many turns, if that is earlier.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of which models get turns, and in which order.")] = 1,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Run many identities, most of them idle, and check the bounds on memory, files and readers.

    Example: `populace bench soak --identities 100000 --json`. A million takes about ten minutes on two
    cores and 2 GB of disk; nothing is left behind, also after Ctrl-C.
    """
    with named_errors():
        from scripts.bench.soak.bench import bench_soak
        from scripts.bench.soak.population import SoakBench

        bench = SoakBench.sized(identities, active, seconds, turns, seed)
        directory = on_disk(data)
        with reporting() as report:
            result = bench_soak(bench, directory, report=report)
        show(result, as_json=as_json)


app.command()(failover)
app.command()(tenants)
app.command()(people)
app.command()(training)
app.command()(handoff)
app.command()(ask)
app.command()(recall)
app.command()(cluster_simulation)

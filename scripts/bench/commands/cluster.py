"""``populace bench cluster-simulation``: what a hundred nodes would do, by the policies alone."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from populace.cli.console import named_errors, reporting
from scripts.bench.commands.options import AsJson, numbers, show

if TYPE_CHECKING:
    from scripts.bench.report import BenchReport

DRAWN_USE = "Zipf"


def cluster_simulation(
    people: Annotated[int, typer.Option(min=1000, help="Personal models.")] = 10_000_000,
    nodes: Annotated[
        int, typer.Option(min=4, help="Nodes, each with four hosts and an engine replica.")
    ] = 100,
    shards: Annotated[str, typer.Option(help="Numbers of shards, comma separated.")] = "64,1024,4096",
    warm_mib: Annotated[
        str, typer.Option(help="Memory for adapters of a replica, in MiB, comma separated.")
    ] = "32,128,512",
    requests: Annotated[int, typer.Option(min=1000, help="Requests that are routed in each case.")] = 500_000,
    seed: Annotated[int, typer.Option(help="Seed of who talks when.")] = 1,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the share of warm requests over memory to this SVG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate many people on many nodes: balance of shards, bytes moved, adapters found warm.

    Example: `populace bench cluster-simulation --people 100000 --nodes 10 --requests 20000`. The full run
    takes five minutes of one core and 1 GB of memory; nothing is served.
    """
    with named_errors():
        from populace.pictures.figures import require_matplotlib
        from scripts.bench.simulation.bench import ClusterSimulation, bench_cluster_simulation

        if svg is not None:
            require_matplotlib()
        bench = ClusterSimulation(
            people, nodes, numbers(shards, "--shards"), numbers(warm_mib, "--warm-mib"), requests, seed
        )
        with reporting() as report:
            result = bench_cluster_simulation(bench, report)
        if svg is not None:
            svg.write_text(_picture(result, bench.warm_mib), encoding="utf-8")
        show(result, as_json=as_json)


def _picture(result: "BenchReport", warm_mib: tuple[int, ...]) -> str:
    from populace.pictures.curves import curves_picture

    curves: dict[str, list[float]] = {}
    for mib in sorted(warm_mib):
        for row in result.rows:
            if row["case"] == f"{DRAWN_USE}, {mib} MiB":
                curves.setdefault(str(row["rule"]), []).append(float(str(row["warm"]).rstrip("%")))
    places = {str(mib): math.log2(mib) for mib in sorted(warm_mib)}
    title = "Requests that find their adapter warm, in %, by routing"
    return curves_picture(title, curves, across="MiB for adapters in each replica", places=places)

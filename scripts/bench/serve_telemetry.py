"""``populace bench serve --telemetry``: Populace compared with itself, by how many requests are traced.

Four of them run during all rounds: two without traces, one that traces every hundredth request and one that
traces all, into files. The second without traces tells what the run cannot: how far two servers differ that
are alike. Each ratio is of rounds, in each of which all servers had the same load one after the other.
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from scripts.bench.intervals import Interval, ratio_of
from scripts.bench.load import Load
from scripts.bench.processes import BenchFailed
from scripts.bench.report import Aim, BenchReport, Row
from scripts.bench.serve import Measured, Report, Round, ServeBench, Server, measure, populace_serve

OFF, OFF_TOO, SOME, ALL = "off", "off, another", "1 % of requests", "all requests"

VARIABLES = {
    OFF: {"POPULACE_TELEMETRY": "off"},
    OFF_TOO: {"POPULACE_TELEMETRY": "off"},
    SOME: {"POPULACE_TELEMETRY": "file", "POPULACE_TELEMETRY_SAMPLE": "0.01"},
    ALL: {"POPULACE_TELEMETRY": "file", "POPULACE_TELEMETRY_SAMPLE": "1"},
}

THROUGHPUT_AIM = 0.99
"""The tokens/s with every hundredth request traced, as a share of those without traces."""

ALIKE_AIM = 0.01
"""How far two servers without traces may be apart for a run to tell whether the first aim is met."""

ALL_CPU_MS_AIM = 0.2
"""Processor time that a turn may take more if all are traced, with the most streams."""

SERVING = ("gateway", "host", "replica")
"""The parts that trace. The engine's own processor time is hundreds of times that, and varies by more."""


class Difference(NamedTuple):
    """A server against ``OFF``: the ratio of tokens/s, and how many ms more of the processor a turn takes."""

    throughput: Interval
    cpu_ms: float


def bench_telemetry(bench: ServeBench, settings: Settings, *, report: Report) -> BenchReport:
    """Start all servers, run all rounds, stop the servers, and compare. Raises ``BenchFailed``."""
    base = prepare_base(settings.base, settings.cache)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        adapters = bench.write_adapters(work, base.directory)
        servers: dict[str, Server] = {}
        folders = {name: work / f"populace-{number}" for number, name in enumerate(VARIABLES)}
        for name, variables in VARIABLES.items():
            report(f"Starting populace serve, traced: {name}")
            folders[name].mkdir()
            servers[name] = stack.enter_context(populace_serve(bench, adapters, folders[name], variables))
        measured = measure(bench, servers, report)
        written = {name: trace_bytes(path / "data") for name, path in folders.items()}
    check_written(written)
    result = compare(bench, measured)
    requests = sum(len(run.samples) for load in bench.loads for run in measured[ALL, load])
    result.notes.append(f"all requests traced took {written[ALL] / requests / 1024:.1f} KiB of files each")
    return result


def trace_bytes(data: Path) -> int:
    """Return how large all traces are that a Populace wrote beside its store."""
    return sum(path.stat().st_size for path in (data / "traces").glob("*") if path.is_file())


def check_written(written: dict[str, int]) -> None:
    """Raise ``BenchFailed`` if one traced that should not, or none that should: nothing was compared then."""
    if not written[ALL]:
        raise BenchFailed("the server that traces all requests wrote no traces")
    traced = [name for name in (OFF, OFF_TOO) if written[name]]
    if traced:
        raise BenchFailed(f"a server without traces wrote {written[traced[0]]} bytes of them")


def compare(bench: ServeBench, measured: Measured) -> BenchReport:
    """Compare each server with the first one without traces, load by load."""
    result = BenchReport("serve --telemetry")
    found: dict[tuple[str, Load], Difference] = {}
    for load in bench.loads:
        for name in VARIABLES:
            found[name, load] = _difference(measured[name, load], measured[OFF, load])
            result.rows.append(_row(name, load, measured[name, load], found[name, load]))
    for load in bench.loads:
        value = round(found[SOME, load].throughput.value, 4)
        name = f"tokens/s with 1 % traced, {load.title}"
        result.aims.append(Aim(name, value, THROUGHPUT_AIM, "×", at_most=False))
    for load in bench.loads:
        apart = round(abs(found[OFF_TOO, load].throughput.value - 1), 4)
        name = f"two servers without traces apart, {load.title}"
        result.aims.append(Aim(name, apart, ALIKE_AIM, "of tokens/s", at_most=True))
    most = max(bench.loads, key=lambda load: load.streams)
    name = f"processor time of a traced turn, {most.title}"
    more = round(found[ALL, most].cpu_ms, 3)
    result.aims.append(Aim(name, more, ALL_CPU_MS_AIM, "ms more", at_most=True))
    result.notes.append(
        f"{bench.rounds} rounds; {bench.requests} requests a stream, {bench.reply_tokens} tokens a reply; "
        f"ratios are relative to `{OFF}`, with 95 % intervals over the rounds; "
        f"processor time is that of {', '.join(SERVING)}"
    )
    return result


def _difference(rounds: list[Round], off: list[Round]) -> Difference:
    pairs = [(one.tokens_per_s, other.tokens_per_s) for one, other in zip(rounds, off, strict=True)]
    return Difference(ratio_of(pairs), _cpu_ms(rounds) - _cpu_ms(off))


def _cpu_ms(rounds: list[Round]) -> float:
    """Return the processor time of the parts that trace for one request, in milliseconds."""
    spent = (sum(run.cpu_s.get(part, 0.0) for part in SERVING) / len(run.samples) for run in rounds)
    return 1000 * statistics.median(spent)


def _row(name: str, load: Load, rounds: list[Round], difference: Difference) -> Row:
    ratio, low, high = difference.throughput
    return {
        "streams": load.streams,
        "traced": name,
        "tokens/s": round(statistics.median(run.tokens_per_s for run in rounds), 1),
        "ratio": round(ratio, 4),
        "95 %": f"{low:.3f} to {high:.3f}",
        "processor ms / request": round(_cpu_ms(rounds), 2),
        "more": round(difference.cpu_ms, 3),
    }

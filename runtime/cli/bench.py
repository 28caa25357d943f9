"""``populace bench``: measure, in one run against the other side, and say which aims are met."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from populace.cli.console import CommandFailed, err, named_errors, out, print_json
from populace.config import Settings

if TYPE_CHECKING:
    from populace.bench.report import BenchReport

app = typer.Typer(help="Measure this machine against the aims.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def serve(
    streams: Annotated[str, typer.Option(help="Concurrent clients, comma separated.")] = "1,4,16",
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are reported.")] = 5,
    requests: Annotated[int, typer.Option(min=1, help="Requests of each client in a round.")] = 2,
    reply_tokens: Annotated[int, typer.Option(min=2, help="Tokens of a reply.")] = 48,
    adapters: Annotated[int, typer.Option(min=0, help="Different LoRA adapters; 0 for the base alone.")] = 4,
    as_json: AsJson = False,
) -> None:
    """The gateway with personal models against `vllm serve`.

    Example: `populace bench serve --streams 1,4,16 --json`. Takes about 13 minutes on two cores.
    """
    with named_errors():
        counts = _numbers(streams, "--streams")
        from populace.config import enter_quiet_environment

        enter_quiet_environment()
        from populace.bench.processes import BenchFailed
        from populace.bench.serve import ServeBench, bench_serve

        bench = ServeBench(counts, rounds, requests, reply_tokens, adapters)
        try:
            with err.status("Starting") as status, contextlib.redirect_stdout(sys.stderr):
                report = bench_serve(bench, Settings.from_environment(), report=status.update)
        except BenchFailed as error:
            raise CommandFailed(str(error)) from error
        _show(report, as_json=as_json)


@app.command()
def identities(
    n: Annotated[int, typer.Option("--n", min=100, help="Personal models to create.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """A host with many identities: create, look up, activate, passivate, restart.

    Example: `populace bench identities --n 1000000`. A million takes about ten minutes on two cores.
    """
    with named_errors():
        from populace.config import enter_quiet_environment

        enter_quiet_environment()
        from populace.bench.identities import bench_identities
        from populace.cli.console import progress

        # Ray prints what its workers say, and that one was killed, to standard output.
        with progress() as display, contextlib.redirect_stdout(sys.stderr):
            task = display.add_task("Starting", total=1.0)

            def report(step: str, fraction: float) -> None:
                display.update(task, description=step, completed=fraction)

            result = bench_identities(n, report=report)
        _show(result, as_json=as_json)


@app.command()
def store(
    models: Annotated[str, typer.Option(help="Models that commit at once, comma separated.")] = "1,16,64,256",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side; medians are reported.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of a round.")] = 1.0,
    data: Annotated[
        Path | None, typer.Option(help="A directory on the disk to measure, else that of the data.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A shard with many models: durable turns in groups and one by one, reads, activation.

    Example: `populace bench store --models 16,256 --json`. Takes a minute and leaves nothing behind.
    """
    with named_errors():
        counts = _numbers(models, "--models")
        from populace.bench.store import MEMORY_FILESYSTEMS, StoreBench, bench_store, filesystem_of
        from populace.cli.console import progress

        directory = _existing(data or Settings.from_environment().data)
        filesystem = filesystem_of(directory)
        if filesystem in MEMORY_FILESYSTEMS:
            raise CommandFailed(
                f"{directory} is in memory ({filesystem}), where fsync costs nothing. "
                "Name a directory on a disk with --data."
            )
        with progress() as display:
            task = display.add_task("Starting", total=1.0)

            def report(step: str, fraction: float) -> None:
                display.update(task, description=step, completed=fraction)

            result = bench_store(StoreBench(counts, rounds, seconds), directory, report=report)
        _show(result, as_json=as_json)


def _existing(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    directory = directory.absolute()
    return next(one for one in (directory, *directory.parents) if one.is_dir())


def _show(report: "BenchReport", *, as_json: bool) -> None:
    if as_json:
        print_json(report.body())
    else:
        report.print(out)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{option} takes whole numbers, comma separated: {text!r}") from None
    if min(numbers) < 1:
        raise typer.BadParameter(f"{option} takes numbers of at least 1: {text!r}")
    return numbers

"""``populace serve``: run a Populace until Ctrl-C."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from populace.cli.console import err, named_errors, out, progress
from populace.config import Settings

if TYPE_CHECKING:
    from populace.base import Stage
    from populace.cluster import Started

EPILOG = """Examples:

populace serve

populace serve --port 9000 --engine torch

populace serve --base ./my-model --data ./my-data
"""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data directory; made if it is not there.")] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Base model: a local directory or a hub id. Default: SmolLM2-135M-Instruct."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="auto, vllm or torch.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Engine replicas.")] = None,
    shards: Annotated[int | None, typer.Option(help="Shards of a new store; fixed once it is made.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Join this Ray cluster instead of starting one.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve personal models over HTTP until Ctrl-C.

    Every option can be set in the environment too, as POPULACE_PORT, POPULACE_DATA and so on.
    """
    with named_errors():
        settings = Settings.from_environment(
            host=host,
            port=port,
            data=data,
            base=base,
            engine=engine,
            replicas=replicas,
            shards=shards,
            ray_address=ray_address,
            log_level=log_level,
        )
        stop = threading.Event()
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            _serve(settings, stop)
        except KeyboardInterrupt:
            err.print("Stopped.")


def _serve(settings: Settings, stop: threading.Event) -> None:
    from populace.cluster import run_cluster

    with progress() as display:
        task = display.add_task("Preparing", total=1.0)

        def base_progress(stage: "Stage", fraction: float) -> None:
            display.update(task, description=f"Base model: {stage}", completed=fraction)

        def report(step: str) -> None:
            display.update(task, description=step, total=None)
            display.console.print(f"[dim]{step}[/]")

        cluster = run_cluster(settings, report=report, base_progress=base_progress)
        started = cluster.__enter__()
    try:
        _greet(started)
        stop.wait()
    except KeyboardInterrupt:
        _ignore_further_interrupts()
        err.print("Stopping: finishing commits, then Ray.")
    finally:
        cluster.__exit__(None, None, None)


def _greet(started: "Started") -> None:
    url, key = started.running.url, started.api_key
    engine = {"vllm": "vLLM", "torch": "torch"}[started.engine]
    out.print(f"\n[bold green]Populace is ready[/] with {started.base.name} on the {engine} engine.\n")
    out.print(f"  Address  {url}", highlight=False)
    out.print(f"  API key  {key}\n", highlight=False)
    out.print("Create a model and talk to it:\n")
    for line in _curl_lines(url, key):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    out.print("\nOr in another terminal: [bold]populace chat ada[/]. Ctrl-C stops.\n")


def _curl_lines(url: str, key: str) -> list[str]:
    head = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    ask = '{"model": "ada", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
    return [
        f"""  curl {url}/v1/personal-models {head} -d '{{"name": "ada"}}'""",
        f"""  curl {url}/v1/chat/completions {head} -d '{ask}'""",
    ]


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    del signal_number, frame
    raise KeyboardInterrupt


def _ignore_further_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

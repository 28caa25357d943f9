"""``populace serve``: run a Populace until Ctrl-C."""

import shlex
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from populace.cli.console import err, named_errors, out, program, progress
from populace.settings.settings import Settings, unknown_variables, variable_of

if TYPE_CHECKING:
    from populace.base.prepare import Stage
    from populace.cluster.serve import Started

QUESTION = "What is the capital of France?"

EXAMPLES = """Examples:

populace serve

populace serve --port 9000 --engine torch

populace serve --base ./my-model --data ./my-data

populace serve --memory-module none
"""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data directory; created if it does not exist.")] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Base model: a local directory or a hub id. Default: SmolLM2-135M-Instruct."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Inference engine: auto, vllm or torch.")] = None,
    memory_module: Annotated[
        str | None,
        typer.Option(
            help="A memory module's file, shipped for the one that comes with the default base, or none. "
            "Default: the shipped one for the default base, none for any other."
        ),
    ] = None,
    replicas: Annotated[int | None, typer.Option(help="Number of engine replicas.")] = None,
    shards: Annotated[
        int | None, typer.Option(help="Number of shards of a new store; `populace reshard` changes it. [64]")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster to join instead of starting one.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="Level of log messages: debug, info, warning or error.")
    ] = None,
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
            memory_module=memory_module,
            replicas=replicas,
            shards=shards,
            ray_address=ray_address,
            log_level=log_level,
        )
        warn_of_unknown()
        signal.signal(signal.SIGINT, _interrupt_once)
        signal.signal(signal.SIGTERM, _interrupt_once)
        try:
            _serve(settings)
        except KeyboardInterrupt:
            err.print("Stopped.")


def _serve(settings: Settings) -> None:
    from populace.cluster.serve import run_cluster

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
        _greet(started, _first_reply(started), command_for(settings))
        threading.Event().wait()
    except KeyboardInterrupt:
        err.print("Stopping: commits first, then Ray.")
    finally:
        cluster.__exit__(None, None, None)


def _first_reply(started: "Started") -> str:
    """Get a first reply of the base through the gateway, so that ready means tested."""
    from populace.cli.gateway_client import GatewayClient

    ask = {"model": "base", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    gateway = GatewayClient(started.running.url, started.api_key)
    with err.status("Asking for a first reply"), gateway as client:
        body = client.request("POST", "/v1/chat/completions", json={**ask, "max_tokens": 16})
    return body["choices"][0]["message"]["content"]


def warn_of_unknown() -> None:
    """Name the variables that look like settings and change nothing."""
    for variable, nearest in unknown_variables():
        meant = "" if nearest is None else f"; the nearest is {nearest}"
        err.print(f"{variable} is no setting and changes nothing{meant}.", style="yellow", soft_wrap=True)


def command_for(settings: Settings) -> str:
    """Return how to type this command in another terminal, where it has to find the same data directory."""
    if settings.data == Settings().data:
        return program()
    return f"{variable_of('data')}={shlex.quote(str(settings.data))} {program()}"


def _greet(started: "Started", reply: str, command: str) -> None:
    url, key = started.running.url, started.api_key
    engine = "vLLM" if started.engine == "vllm" else started.engine
    memory = "without a memory" if started.memory is None else "with a memory"
    out.print(
        f"\n[bold green]Populace is ready[/] with {started.base.name} on the {engine} engine, {memory}.\n"
    )
    out.print(f"  {QUESTION}", highlight=False, markup=False)
    out.print(f"  {reply}\n", highlight=False, markup=False)
    out.print(f"  Address  {url}", highlight=False)
    out.print(f"  Console  {url}/console", highlight=False)
    out.print(f"  API key  {key}", highlight=False)
    logs = f"  Logs     {started.logs}; {command} logs shows them\n"
    out.print(logs, highlight=False, markup=False, soft_wrap=True)
    out.print("Create a model and talk to it:\n")
    for line in _curl_lines(url, key):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    talk = f"\nOr in another terminal: [bold]{escape(command)} chat ada[/]. Ctrl-C stops.\n"
    out.print(talk, highlight=False, soft_wrap=True)


def _curl_lines(url: str, key: str) -> list[str]:
    head = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    ask = f'{{"model": "ada", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    return [
        f"""  curl {url}/v1/personal-models {head} -d '{{"name": "ada"}}'""",
        f"""  curl {url}/v1/chat/completions {head} -d '{ask}'""",
    ]


def _interrupt_once(signal_number: int, frame: FrameType | None) -> None:
    """Stop at the first signal; a second one must not break the stopping."""
    del signal_number, frame
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt

"""``populace serve``: run a Populace until Ctrl-C."""

import logging
import shlex
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from populace.actors.errors import ClusterNotFound
from populace.cli.console import (
    CommandFailed,
    counted,
    err,
    ignore_signals,
    named_errors,
    out,
    program,
    progress,
    stop_at_signals,
)
from populace.settings.service_manager import ServiceManager
from populace.settings.settings import Settings
from populace.settings.sources import unknown_variables, variable_of

if TYPE_CHECKING:
    from populace.base.prepare import Stage
    from populace.cluster.serve import Started

logger = logging.getLogger(__name__)

QUESTION = "What is the capital of France?"

TALK = "run ada"
"""The command that it names to talk to a model."""

FIRST_REPLY_SECONDS_MAX = 60.0
"""How long it is asked again for: a gateway or an engine whose process ended is replaced in that time."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(help="File of settings, in TOML. Default: populace.toml beside the API keys."),
    ] = None,
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
            "Default: the shipped one for the default base, none for any other and on GPUs."
        ),
    ] = None,
    gateways: Annotated[int | None, typer.Option(help="Number of gateways, which share the port.")] = None,
    replicas: Annotated[
        int | None, typer.Option(help="Number of engine replicas of each machine that runs engines.")
    ] = None,
    shards: Annotated[
        int | None, typer.Option(help="Number of shards of a new store; `populace reshard` changes it. [64]")
    ] = None,
    take_over: Annotated[
        str | None,
        typer.Option(
            help="Id of a store in the journal that an empty data directory becomes; its former machine can "
            "write no more."
        ),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster to join instead of starting one.")
    ] = None,
    cluster_port: Annotated[
        int | None, typer.Option(help="Port at which other machines join, with `populace node join`.")
    ] = None,
    cluster_host: Annotated[
        str | None, typer.Option(help="Address of this machine that they reach. Default: its network's.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="Level of log messages: debug, info, warning or error.")
    ] = None,
) -> None:
    """Serve personal models over HTTP until Ctrl-C.

    Then, and at SIGTERM, nothing new begins, and replies that are being made have
    POPULACE_DRAIN_SECONDS_MAX to end. A second Ctrl-C ends them at once.

    Every option can be set in the environment too, as POPULACE_PORT, POPULACE_DATA and so on, and in a
    configuration file, like all other settings: `populace config` lists them.

    Examples:
        populace serve
        populace serve --port 9000 --engine torch
        populace serve --base ./my-model --data ./my-data
        populace serve --config-file /etc/populace.toml
        populace serve --memory-module none
        populace serve --cluster-port 6379
    """
    with named_errors():
        settings = Settings.from_environment(
            host=host,
            port=port,
            config_file=config_file,
            data=data,
            base=base,
            engine=engine,
            memory_module=memory_module,
            gateways=gateways,
            replicas=replicas,
            shards=shards,
            take_over=take_over,
            ray_address=ray_address,
            cluster_port=cluster_port,
            cluster_host=cluster_host,
            log_level=log_level,
        )
        warn_of_unknown()
        stop_at_signals()
        try:
            _serve(settings)
        except KeyboardInterrupt:
            err.print("Stopped.")


def _serve(settings: Settings) -> None:
    from populace.cluster.own_ray import wait_until_ended
    from populace.cluster.serve import run_cluster

    manager = ServiceManager.of_this_process()
    with progress() as display:
        task = display.add_task("Preparing", total=1.0)

        def base_progress(stage: "Stage", fraction: float) -> None:
            display.update(task, description=f"Base model: {stage}", completed=fraction)

        def report(step: str) -> None:
            manager.status(step)
            display.update(task, description=step, total=None)
            display.console.print(f"[dim]{step}[/]")

        cluster = run_cluster(settings, report=report, base_progress=base_progress)
        started = cluster.__enter__()
    try:
        reply = first_reply(started.running.url, started.api_key)
        _greet(started, reply, command_for(settings, started))
        manager.ready(f"Serves {started.base.name} at {started.running.url}")
        ended = wait_until_ended()
        logger.error("the %s of Ray has ended", ended)
        raise CommandFailed(
            f"Ray's {ended} has ended on this machine, and all that serves with it. What was acknowledged is "
            "stored: start `populace serve` again, or let a supervisor do so."
        )
    except KeyboardInterrupt:
        manager.stopping("Finishes what runs")
        _finish(settings)
        err.print("Stopping: commits first, then Ray.")
    finally:
        cluster.__exit__(None, None, None)


def _finish(settings: Settings) -> None:
    """Let what runs end, in its time; another signal ends it at once."""
    from populace.cluster.draining.finishing import finish_work

    def tell(running: int) -> None:
        seconds = f"{settings.drain_seconds_max:g} s"
        err.print(f"{counted(running, 'request')} may go on for {seconds}; Ctrl-C ends what runs now.")

    stop_at_signals()
    try:
        left = finish_work(settings, tell)
        if left:
            err.print(f"{counted(left, 'request')} did not end in time.")
    except KeyboardInterrupt:
        err.print("Ending what runs.")
    finally:
        ignore_signals()


def first_reply(url: str, api_key: str) -> str:
    """Get a first reply of the base through the gateway, so that ready means tested.

    A process that is replaced just then is waited for. Raises as ``GatewayClient.request`` what does not pass
    within ``FIRST_REPLY_SECONDS_MAX``.
    """
    from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_fixed

    from populace.cli.gateway_client import GatewayClient

    ask = {"model": "base", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    again = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_fixed(1.0),
        stop=stop_before_delay(FIRST_REPLY_SECONDS_MAX),
        reraise=True,
    )
    with err.status("Asking for a first reply"), GatewayClient(url, api_key) as client:
        body = again(client.request, "POST", "/v1/chat/completions", json={**ask, "max_tokens": 16})
    return body["choices"][0]["message"]["content"]


def _may_pass(error: BaseException) -> bool:
    from populace.cli.gateway_client import GatewayError

    if isinstance(error, GatewayError):
        return error.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return isinstance(error, ClusterNotFound | CommandFailed)


def warn_of_unknown() -> None:
    """Name the variables that look like settings and change nothing."""
    for variable, nearest in unknown_variables(Settings.model_fields):
        meant = "" if nearest is None else f"; the nearest is {nearest}"
        err.print(f"{variable} is no setting and changes nothing{meant}.", style="yellow", soft_wrap=True)


def command_for(settings: Settings, started: "Started | None" = None) -> str:
    """Return how to type this command in another terminal, where it has to find the same data and API key."""
    if started is not None and started.store_node is not None:
        place = {"address": started.running.url, "api_key": started.api_key}
        return " ".join([*(f"{variable_of(name)}={value}" for name, value in place.items()), program()])
    named = {"config_file": settings.config_file}
    if settings.data != Settings().data:
        named["data"] = settings.data
    variables = [f"{variable_of(name)}={shlex.quote(str(path))}" for name, path in named.items() if path]
    return " ".join([*variables, program()])


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
    where = f"on {started.store_node}" if started.store_node else f"{command} logs shows them"
    logs = f"  Logs     {started.logs}; {where}\n"
    out.print(logs, highlight=False, markup=False, soft_wrap=True)
    if started.cluster is not None:
        out.print(
            f"  Machines {join_hint(*started.cluster)}\n", highlight=False, markup=False, soft_wrap=True
        )
    out.print("Create a model and talk to it:\n")
    for line in _curl_lines(url, key):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    talk = f"\nOr in another terminal: [bold]{escape(f'{command} {TALK}')}[/]. Ctrl-C stops.\n"
    out.print(talk, highlight=False, soft_wrap=True)


def join_hint(address: str, token: Path) -> str:
    """Say how another machine joins the cluster at an address."""
    if _is_loopback(address.rpartition(":")[0].strip("[]")):
        # Ray found no other one: a machine without a route to elsewhere, for example.
        return f"cannot join, as {address} is this machine alone: name its address with --cluster-host"
    return f"join with `populace node join {address}`, once {token} is copied to the same place there"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _curl_lines(url: str, key: str) -> list[str]:
    head = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    # Greedy, since a small base may also answer this in French.
    messages = f'[{{"role": "user", "content": "{QUESTION}"}}]'
    ask = f'{{"model": "ada", "temperature": 0, "messages": {messages}}}'
    return [
        f"""  curl {url}/v1/personal-models {head} -d '{{"name": "ada"}}'""",
        f"""  curl {url}/v1/chat/completions {head} -d '{ask}'""",
    ]

"""``populace model memory``: what a model remembers."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from populace.cli.console import CommandFailed, local_time, named_errors, out, print_json
from populace.cli.gateway_client import GatewayClient, model_path
from populace.config import Settings

EXAMPLES = """Examples:

populace model memory ada

populace model memory ada --picture ada.svg

populace model memory ada --restore 12

populace model memory ada --forget
"""

BAR_WIDTH = 40


def memory(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    picture: Annotated[
        Path | None, typer.Option(help="Write a picture of the state to this SVG file.", dir_okay=False)
    ] = None,
    restore: Annotated[
        int | None, typer.Option(min=0, help="First set it to what it was after so many turns.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="First empty it; the log stays.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model remembers: how much each layer holds, and the newest writes."""
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        if restore is not None and forget:
            raise CommandFailed("--restore and --forget exclude each other.")
        if restore is not None or forget:
            client.request("POST", model_path(name, "/memory"), json={"position": restore})
        body = client.request("GET", model_path(name, "/memory"))
        if picture is not None:
            drawn = client.text(model_path(name, "/memory/picture"))
            try:
                picture.write_text(drawn, encoding="utf-8")
            except OSError as error:
                raise CommandFailed(f"{picture} cannot be written: {error.strerror}.") from error
        print_json(body) if as_json else _print_memory(body)
        if picture is not None and not as_json:
            out.print(f"The picture is in {picture}.", highlight=False)


def _print_memory(body: dict[str, Any]) -> None:
    if body["module"] is None:
        out.print(f"[bold]{body['id']}[/] remembers nothing: its memory is empty.")
        return
    out.print(
        f"[bold]{body['id']}[/]: {body['version']} turns went through its memory of {body['bytes']} bytes."
    )
    if body["module"] != body["served_module"]:
        served = "No" if body["served_module"] is None else "Another"
        out.print(f"[yellow]{served} memory module is served now: this state cannot be used.[/]")
    strongest = max(body["norms"]) or 1.0
    for layer, norm in enumerate(body["norms"]):
        bar = "█" * round(BAR_WIDTH * norm / strongest)
        out.print(f"  layer {layer:>2}  {norm:6.2f}  {bar}", highlight=False)
    table = Table("turn", "when", "messages written", "reply tokens")
    for write in body["writes"]:
        when = local_time(write["created"])
        table.add_row(str(write["position"]), when, str(write["messages"]), str(write["reply_tokens"]))
    out.print(table)

"""``populace memory``: the state that a model's memory module writes, which changes with every turn."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from populace.cli.arguments import AsJson, Name, Yes
from populace.cli.console import CommandFailed, local_time, out, print_json
from populace.cli.gateway_client import gateway, model_path

BAR_WIDTH = 40


def show(
    name: Name,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the state to this SVG file.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the norm of each layer's state, and the newest writes; `populace model known` asks it.

    Examples:
        populace memory show ada
        populace memory show ada --picture ada.svg
    """
    with gateway() as client:
        body = client.request("GET", model_path(name, "/memory"))
        if picture is not None:
            drawn = client.text(model_path(name, "/memory/picture"))
            try:
                picture.write_text(drawn, encoding="utf-8")
            except OSError as error:
                raise CommandFailed(f"{picture} cannot be written: {error.strerror}.") from error
    if as_json:
        print_json(body)
        return
    _print_memory(body)
    if picture is not None:
        out.print(f"The picture is in {picture}.", highlight=False, markup=False)


def restore(
    name: Name,
    turns: Annotated[int, typer.Argument(min=0, help="After how many turns the memory was so.")],
    as_json: AsJson = False,
) -> None:
    """Set the memory back to its state after that number of turns. The log stays, and this is a turn of it.

    Examples:
        populace memory restore ada 12
    """
    _set(name, turns, as_json=as_json)


def clear(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Empty the memory. The log stays, this is a turn of it, and `populace memory restore` undoes it.

    Examples:
        populace memory clear ada --yes
    """
    if not yes and not typer.confirm(f"Empty the memory of `{name}`?"):
        raise typer.Exit(1)
    _set(name, None, as_json=as_json)


def _set(name: str, position: int | None, *, as_json: bool) -> None:
    with gateway() as client:
        client.request("POST", model_path(name, "/memory"), json={"position": position})
        body = client.request("GET", model_path(name, "/memory"))
    print_json(body) if as_json else _print_memory(body)


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
        bar = "█" * round(min(BAR_WIDTH, max(8, out.width - 22)) * norm / strongest)
        out.print(f"  layer {layer:>2}  {norm:6.2f}  {bar}", highlight=False)
    table = Table("turn", "when", "messages written", "reply tokens", box=None)
    for write in body["writes"]:
        when = local_time(write["created"])
        table.add_row(str(write["position"]), when, str(write["messages"]), str(write["reply_tokens"]))
    out.print(table)

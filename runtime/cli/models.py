"""``populace model ls``, ``create``, ``show``, ``fork`` and ``rm``: personal models as a whole."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from populace.cli.arguments import AsJson, Name, Yes
from populace.cli.console import CommandFailed, err, local_time, out, print_json, print_turn
from populace.cli.gateway_client import connected, gateway, model_path

TURNS_SHOWN = 5


def create(
    name: Annotated[str, typer.Argument(help="The model's name: a-z, 0-9, _ and -.")],
    adapter: Annotated[
        Path | None,
        typer.Option(help="First revision: a PEFT LoRA directory or a packed adapter file.", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a personal model.

    Examples:
        populace model create ada
        populace model create ada --adapter ./my-lora
    """
    with gateway() as client:
        if adapter is None:
            client.request("POST", "/v1/personal-models", json={"name": name})
        else:
            with err.status("Checking the adapter"), connected() as population:
                population.create(name, adapter=adapter)
        body = client.request("GET", model_path(name))
        print_json(body) if as_json else out.print(f"Created [bold]{name}[/].")


def ls(as_json: AsJson = False) -> None:
    """List the models by name.

    Ends with 1 if some are left out as they are damaged.

    Examples:
        populace model ls
        populace model ls --json | jq -r '.[].id'
    """
    with gateway() as client:
        models = client.pages("/v1/personal-models")
        print_json([*models]) if as_json else out.print(table_of(models))
        if client.missing:
            from populace.actors.hosts import lacking

            raise CommandFailed(f"{lacking(client.missing)} `populace doctor --deep` says what is wrong.")


def table_of(models: Any) -> Table:
    """Draw models as a table; ``models`` are the gateway's objects."""
    table = Table("name", "turns", "latest revision", "created", "active", box=None)
    for model in models:
        table.add_row(
            model["id"],
            str(model["log_position"]),
            (model["aliases"].get("latest") or model["begins_on"] or "base")[:12],
            local_time(model["created"]),
            "yes" if model["active"] else "",
        )
    return table


def show(name: Name, as_json: AsJson = False) -> None:
    """Show one model and its newest turns.

    More of its log: /log in `populace run NAME` has a hundred turns, `populace model export NAME` all.

    Examples:
        populace model show ada
    """
    with gateway() as client:
        body = client.request("GET", model_path(name))
        if as_json:
            print_json(body)
            return
        _print_model(body)
        start = max(0, body["log_position"] - TURNS_SHOWN)
        log = client.request("GET", model_path(name, "/interactions"), params={"start": start})["data"]
        for turn in log:
            print_turn(turn)


def fork(name: Name, new_name: Annotated[str, typer.Argument(help="The new model's name.")]) -> None:
    """Create a copy of a model: its log, memory, revisions and aliases.

    Examples:
        populace model fork ada ada-at-work
    """
    with gateway() as client:
        client.request("POST", model_path(name, "/fork"), json={"name": new_name})
        out.print(f"Forked [bold]{name}[/] to [bold]{new_name}[/].")


def rm(name: Name, yes: Yes = False) -> None:
    """Erase a model and everything its person said, also from backups.

    Backups can be read with their key file, so renew that too: with the next backup, or at once with
    `populace backup --keys FILE --keys-only`.

    Examples:
        populace model rm ada
        populace model rm ada --yes
    """
    with gateway() as client:
        turns = client.request("GET", model_path(name))["log_position"]
        if not yes and not typer.confirm(f"Erase `{name}` and its {turns} turns for good?"):
            raise typer.Exit(1)
        client.request("DELETE", model_path(name))
        out.print(f"Erased [bold]{name}[/].")


def _print_model(body: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("name", body["id"])
    table.add_row("created", local_time(body["created"]))
    table.add_row("turns", str(body["log_position"]))
    if body["log_start"] > 0:
        table.add_row("log", f"from turn {body['log_start']} on; earlier ones were compacted")
    table.add_row("base", body["base"][:12])
    for alias, digest in body["aliases"].items():
        table.add_row(f"@{alias}", digest[:12])
    if body["begins_on"] is not None:
        table.add_row("begins on", f"the community's {body['begins_on'][:12]}")
    if body["contributes"]:
        table.add_row("contributes", "its liked replies may be learned from by the community")
    out.print(table)

"""``populace model publish`` and ``model revisions``: publishes and lists a model's adapters."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from populace.cli.arguments import AsJson, Name
from populace.cli.console import err, local_time, named_errors, out, print_json
from populace.cli.gateway_client import connected, gateway, model_path


def publish(
    name: Name,
    adapter: Annotated[
        Path, typer.Argument(help="The directory of a PEFT LoRA adapter.", exists=True, file_okay=False)
    ],
    alias: Annotated[str, typer.Option(help="The alias to move to the new revision.")] = "latest",
) -> None:
    """Publish a new adapter for a model; the old one stays in use until an engine has loaded it.

    Examples:
        populace model publish ada ./my-lora
        populace model publish ada ./my-lora --alias canary    # asked as ada@canary
    """
    with named_errors(), err.status("Checking and prewarming the adapter"), connected() as population:
        revision = population.model(name).publish(adapter, alias=alias)
    out.print(f"[bold]{name}@{alias}[/] is {revision.digest[:12]} now.")


def revisions(name: Name, as_json: AsJson = False) -> None:
    """List a model's revisions, oldest first, with their aliases.

    A revision is registered, then prewarming, then ready; aliases move to ready ones only.

    Examples:
        populace model revisions ada
    """
    with gateway() as client:
        aliases = client.request("GET", model_path(name))["aliases"]
        found = client.request("GET", model_path(name, "/revisions"))["data"]
    if as_json:
        print_json(found)
        return
    table = Table("revision", "aliases", "readiness", "method", "rank", "size", "created")
    for revision in found:
        table.add_row(*_cells(revision, aliases))
    out.print(table)


def _cells(revision: dict[str, Any], aliases: dict[str, str]) -> tuple[str, ...]:
    named = (f"@{alias}" for alias, digest in aliases.items() if digest == revision["id"])
    return (
        revision["id"][:12],
        " ".join(named),
        revision["readiness"],
        revision["method"],
        str(revision["rank"]),
        f"{revision['bytes'] / 1e6:.1f} MB",
        local_time(revision["created"]),
    )

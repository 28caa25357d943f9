"""``populace model``: creates, lists, shows and erases personal models; the group's root."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from populace.cli.archives import EXPORT_EXAMPLES, IMPORT_EXAMPLES, export_model, import_model
from populace.cli.console import err, local_time, named_errors, out, print_json, print_turn
from populace.cli.contribution import EXAMPLES as CONTRIBUTE_EXAMPLES
from populace.cli.contribution import contribute
from populace.cli.feedback import EXAMPLES as FEEDBACK_EXAMPLES
from populace.cli.feedback import feedback
from populace.cli.forget import EXAMPLES as FORGET_EXAMPLES
from populace.cli.forget import forget
from populace.cli.gateway_client import GatewayClient, connected, model_path
from populace.cli.lineage import (
    DIFF_EXAMPLES,
    HISTORY_EXAMPLES,
    REBUILD_EXAMPLES,
    ROLLBACK_EXAMPLES,
    diff,
    history,
    rebuild,
    rollback,
)
from populace.cli.memory import EXAMPLES as MEMORY_EXAMPLES
from populace.cli.memory import memory
from populace.cli.population import SHARE_EXAMPLES, share
from populace.cli.revisions import PUBLISH_EXAMPLES, publish, revisions
from populace.settings.settings import Settings

app = typer.Typer(
    help="Create, show, update, export, import and erase personal models.",
    epilog="The log of a model: `populace model show ada` has its newest turns, /log in `populace chat ada` "
    "a hundred, and `populace model export ada` all.",
    no_args_is_help=True,
)
app.command("contribute", epilog=CONTRIBUTE_EXAMPLES)(contribute)
app.command("diff", epilog=DIFF_EXAMPLES)(diff)
app.command("export", epilog=EXPORT_EXAMPLES)(export_model)
app.command("feedback", epilog=FEEDBACK_EXAMPLES)(feedback)
app.command("history", epilog=HISTORY_EXAMPLES)(history)
app.command("forget", epilog=FORGET_EXAMPLES)(forget)
app.command("import", epilog=IMPORT_EXAMPLES)(import_model)
app.command("memory", epilog=MEMORY_EXAMPLES)(memory)
app.command("publish", epilog=PUBLISH_EXAMPLES)(publish)
app.command("rebuild", epilog=REBUILD_EXAMPLES)(rebuild)
app.command("revisions")(revisions)
app.command("rollback", epilog=ROLLBACK_EXAMPLES)(rollback)
app.command("share", epilog=SHARE_EXAMPLES)(share)

Name = Annotated[str, typer.Argument(help="The model's name: a-z, 0-9, _ and -.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Name,
    adapter: Annotated[
        Path | None,
        typer.Option(help="First revision: a PEFT LoRA directory or a packed adapter file.", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a personal model.

    Examples: `populace model create ada`, `populace model create ada --adapter ./my-lora`.
    """
    with named_errors():
        if adapter is not None:
            _create_with_adapter(name, adapter)
        with GatewayClient.of_settings(Settings.from_environment()) as client:
            if adapter is None:
                client.request("POST", "/v1/personal-models", json={"name": name})
            body = client.request("GET", model_path(name))
        print_json(body) if as_json else out.print(f"Created [bold]{name}[/].")


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models by name."""
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        models = client.pages("/v1/personal-models")
        if as_json:
            print_json(list(models))
            return
        table = Table("name", "turns", "latest revision", "created", "active")
        for model in models:
            latest = model["aliases"].get("latest") or model["begins_on"] or "base"
            created = local_time(model["created"])
            table.add_row(
                model["id"],
                str(model["log_position"]),
                latest[:12],
                created,
                "yes" if model["active"] else "",
            )
        out.print(table)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one model and its newest turns."""
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        body = client.request("GET", model_path(name))
        if as_json:
            print_json(body)
            return
        _print_model(body)
        start = max(0, body["log_position"] - 5)
        log = client.request("GET", model_path(name, "/interactions"), params={"start": start})["data"]
        for turn in log:
            print_turn(turn)


@app.command()
def fork(name: Name, new_name: Annotated[str, typer.Argument(help="The new model's name.")]) -> None:
    """Create a copy of a model: its log, memory, revisions and aliases.

    Example: `populace model fork ada ada-at-work`.
    """
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        client.request("POST", model_path(name, "/fork"), json={"name": new_name})
        out.print(f"Forked [bold]{name}[/] to [bold]{new_name}[/].")


@app.command()
@app.command("delete", hidden=True)
def erase(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase a model and everything its person said, also from backups.

    Backups can be read with their key file, so renew that too: with the next backup, or at once with
    `populace backup --keys FILE --keys-only`.
    """
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        turns = client.request("GET", model_path(name))["log_position"]
        if not yes and not typer.confirm(f"Erase `{name}` and its {turns} turns for good?"):
            raise typer.Exit(1)
        client.request("DELETE", model_path(name))
        out.print(f"Erased [bold]{name}[/].")


def _create_with_adapter(name: str, adapter: Path) -> None:
    with err.status("Checking the adapter"), connected() as population:
        population.create(name, adapter=adapter)


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

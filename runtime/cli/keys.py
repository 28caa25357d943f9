"""``populace key``: manages API keys and the tenants that they belong to."""

import time
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from populace.cli.console import fail, named_errors, out, print_json
from populace.cli.gateway_client import connected

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    tenant: Annotated[
        str,
        typer.Argument(
            help="The tenant whose models the key gives access to; an unused name makes a new tenant."
        ),
    ],
    label: Annotated[str, typer.Option(help="A note to recognise the key by.")] = "",
    as_json: AsJson = False,
) -> None:
    """Create an API key and show it, once.

    Example: `populace key create acme --label "acme's backend"`.
    """
    from populace.gateway.http.access import new_key

    with named_errors(), connected() as population:
        text, key = new_key(tenant, label, now_ms=time.time_ns() // 1_000_000)
        population.run(population.directory.create_key(key))
        if as_json:
            print_json({"key": text, "key_id": key.key_id, "tenant": tenant, "label": label})
        else:
            out.print(f"{text}\n\nKeep it: only its hash is stored.", highlight=False)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    with named_errors(), connected() as population:
        keys = population.run(population.directory.list_keys())
        rows = [
            {"key_id": k.key_id, "tenant": k.tenant, "label": k.label, "revoked": k.revoked_ms is not None}
            for k in keys
        ]
        if as_json:
            print_json(rows)
            return
        table = Table("key id", "tenant", "label", "revoked")
        for row in rows:
            table.add_row(
                str(row["key_id"]),
                str(row["tenant"]),
                Text(str(row["label"])),
                "yes" if row["revoked"] else "",
            )
        out.print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `populace key list` shows it.")],
) -> None:
    """Revoke a key; gateways stop accepting it within seconds."""
    with named_errors(), connected() as population:
        if population.run(population.directory.revoke_key(key_id)) is None:
            fail(f"There is no key with the id {key_id}.")
        out.print(f"Revoked {key_id}.")

"""``populace tenant``: shows tenants, and what each may take."""

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from populace.actors.errors import InvalidRequest
from populace.cli.arguments import AsJson
from populace.cli.console import out, print_json
from populace.cli.gateway_client import administrating

PATH = "/v1/admin/tenants"
UNITS = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}

Tenant = Annotated[str, typer.Argument(help="The tenant's name.")]


def ls(as_json: AsJson = False) -> None:
    """List the tenants that have people, a key or a limit.

    Examples:
        populace tenant ls
    """
    with administrating() as client:
        tenants = client.request("GET", PATH)["data"]
    if as_json:
        print_json(tenants)
        return
    table = Table("tenant", "limits")
    for tenant in tenants:
        table.add_row(tenant["id"], ", ".join(told_limits(tenant["limits"])))
    out.print(table)


def show(tenant: Tenant, as_json: AsJson = False) -> None:
    """Show what a tenant has, and what it may take.

    Examples:
        populace tenant show acme
    """
    with administrating() as client:
        found = client.request("GET", _path(tenant))
    if as_json:
        print_json(found)
        return
    table = Table("", "now", "limit")
    for name in found["limits"]:
        limit = found["limits"][name]
        now = f"{found[name]:,}" if name in found else ""
        table.add_row(_words(name), now, "none" if limit is None else f"{limit:,}")
    out.print(table)


def limit(
    tenant: Tenant,
    requests_per_minute: Annotated[str | None, typer.Option(help="Requests in a minute, or none.")] = None,
    tokens_per_minute: Annotated[
        str | None, typer.Option(help="Tokens in a minute, of prompts and replies, or none.")
    ] = None,
    people: Annotated[str | None, typer.Option(help="Personal models, or none.")] = None,
    stored_bytes: Annotated[
        str | None,
        typer.Option("--bytes", help="Bytes of logs and adapters, such as 500MiB or 20GiB, or none."),
    ] = None,
    open_jobs: Annotated[str | None, typer.Option(help="Trainings that wait or run, or none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Limit what a tenant takes; what is not named stays as it is, and `none` lifts a limit.

    Examples:
        populace tenant limit acme --requests-per-minute 6000 --people 1000 --bytes 20GiB
    """
    asked = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "people": people,
        "bytes": stored_bytes,
        "open_jobs": open_jobs,
    }
    with administrating() as client:
        changed = {name: number_in(name, text) for name, text in asked.items() if text is not None}
        limits: dict[str, Any] = client.request("GET", _path(tenant))["limits"]
        limited = client.request("PUT", f"{_path(tenant)}/limits", json={**limits, **changed})
    if as_json:
        print_json(limited)
    else:
        out.print(f"{tenant}: {', '.join(told_limits(limited['limits'])) or 'no limits'}.", highlight=False)


def number_in(name: str, text: str) -> int | None:
    """Return a limit as it is typed, None for ``none``. Raises ``InvalidRequest``."""
    if text.lower() == "none":
        return None
    digits = text.rstrip("BIKMGTbikmgt")
    unit = UNITS.get(text[len(digits) :].upper()) if name == "bytes" or digits == text else None
    if unit is None or not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        message = f"{_words(name)} is limited by a number, or none, and not by {text[:80]!r}."
        raise InvalidRequest(message, name)
    return int(digits) * unit


def told_limits(limits: dict[str, int | None]) -> list[str]:
    """Say which limits there are."""
    return [f"{value:,} {_words(name)}" for name, value in limits.items() if value is not None]


def _path(tenant: str) -> str:
    return f"{PATH}/{quote(tenant, safe='')}"


def _words(name: str) -> str:
    return name.replace("_per_minute", " a minute").replace("_", " ")

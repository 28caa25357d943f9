"""``populace key``: makes and looks after API keys."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.table import Table
from rich.text import Text

from populace.actors.errors import InvalidRequest
from populace.cli.arguments import AsJson
from populace.cli.console import local_time, out, print_json
from populace.cli.gateway_client import administrating
from populace.cli.tenants import number_in, told_limits

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def seconds_in(text: str, option: str) -> int:
    """Return the seconds of a span such as ``90s``, ``12h`` or ``30d``. Raises ``InvalidRequest``."""
    match = re.fullmatch(rf"([0-9]{{1,9}})([{''.join(UNITS)}])", text.strip())
    if match is None:
        message = f"{option} is a number with s, m, h, d, w or y, such as 12h or 30d, and not {text[:80]!r}."
        raise InvalidRequest(message, option)
    return int(match[1]) * UNITS[match[2]]


PATH = "/v1/admin/keys"

KeyId = Annotated[str, typer.Argument(help="Id of the key, as `populace key ls` shows it.")]


def create(
    tenant: Annotated[
        str,
        typer.Argument(
            help="The tenant whose models the key gives access to; an unused name makes a new tenant."
        ),
    ],
    label: Annotated[str, typer.Option(help="A note to recognise the key by.")] = "",
    role: Annotated[
        Literal["read", "tenant", "admin"],
        typer.Option(help="What it may do: read, all that concerns its tenant, or also look after keys."),
    ] = "tenant",
    models: Annotated[
        str | None, typer.Option(help="The only models that it is for, separated by commas.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="After which time it ends, such as 12h, 30d or 1y.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key and show it, once.

    Examples:
        populace key create acme --label "acme's backend" --expires-in 1y
        populace key create acme --role read
        populace key create acme --models ada,bob
    """
    with administrating() as client:
        body: dict[str, Any] = {"tenant": tenant, "label": label, "role": role}
        if models is not None:
            body["models"] = [name.strip() for name in models.split(",")]
        if expires_in is not None:
            body["expires_in"] = seconds_in(expires_in, "--expires-in")
        _show_secret(client.request("POST", PATH, json=body), as_json=as_json)


def ls(
    tenant: Annotated[str | None, typer.Option(help="Only the keys of this tenant.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the keys, without their secrets.

    Examples:
        populace key ls --tenant acme
    """
    with administrating() as client:
        query = {} if tenant is None else {"tenant": tenant}
        keys = client.request("GET", PATH, params=query)["data"]
    if as_json:
        print_json([_as_before(key) for key in keys])
        return
    table = Table("key id", "tenant", "label", "role", "models", "state", "expires", "last used")
    for key in keys:
        table.add_row(
            key["id"],
            key["tenant"],
            Text(key["label"]),
            key["role"],
            _models(key),
            key["state"],
            _time(key["expires"]),
            _time(key["last_used"]),
        )
    out.print(table)


def show(key_id: KeyId, as_json: AsJson = False) -> None:
    """Show one key, without its secret.

    Examples:
        populace key show 8c1f0e7a5b3d2c49
    """
    with administrating() as client:
        _show(client.request("GET", _path(key_id)), as_json=as_json)


def rotate(
    key_id: KeyId,
    grace: Annotated[
        str, typer.Option(help="How long the former secret counts as well, such as 0s, 1h or 7d.")
    ] = "1h",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and show it, once; the former one goes on for a while.

    Examples:
        populace key rotate 8c1f0e7a5b3d2c49 --grace 1d
    """
    with administrating() as client:
        body = {"grace": seconds_in(grace, "--grace")}
        _show_secret(client.request("POST", f"{_path(key_id)}/rotate", json=body), as_json=as_json)


def limit(
    key_id: KeyId,
    requests_per_minute: Annotated[str | None, typer.Option(help="Requests in a minute, or none.")] = None,
    tokens_per_minute: Annotated[
        str | None, typer.Option(help="Tokens in a minute, of prompts and replies, or none.")
    ] = None,
) -> None:
    """Limit what a key takes in a minute, beside the limits of its tenant; `none` lifts a limit.

    Examples:
        populace key limit 8c1f0e7a5b3d2c49 --requests-per-minute 600
    """
    asked = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
    with administrating() as client:
        changed = {name: number_in(name, text) for name, text in asked.items() if text is not None}
        limits = client.request("GET", _path(key_id))["limits"]
        limited = client.request("PUT", f"{_path(key_id)}/limits", json={**limits, **changed})
    out.print(f"{key_id}: {', '.join(told_limits(limited['limits'])) or 'no limits'}.", highlight=False)


def revoke(key_id: KeyId) -> None:
    """Revoke a key; gateways stop accepting it within seconds.

    Examples:
        populace key revoke 8c1f0e7a5b3d2c49
    """
    with administrating() as client:
        client.request("DELETE", _path(key_id))
    out.print(f"Revoked {key_id}.")


def _show_secret(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(_as_before(key))
    else:
        out.print(f"{key['key']}\n\nKeep it: only its hash is stored.", highlight=False, soft_wrap=True)


def _show(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(_as_before(key))
        return
    told = {
        "tenant": key["tenant"],
        "label": key["label"],
        "role": key["role"],
        "models": _models(key),
        "state": key["state"],
        "created": _time(key["created"]),
        "expires": _time(key["expires"]) or "never",
        "last used": _time(key["last_used"]) or "never",
        "limits": ", ".join(told_limits(key["limits"])),
        "former secret until": _time(key["former_secret_until"]),
    }
    for name, value in told.items():
        if value:
            out.print(f"{name:>20}  ", Text(value), sep="", highlight=False)


def _as_before(key: dict[str, Any]) -> dict[str, Any]:
    """Add the names that scripts know from before keys had roles."""
    return {"key_id": key["id"], "revoked": key["state"] == "revoked", **key}


def _models(key: dict[str, Any]) -> str:
    return "all" if key["models"] is None else ", ".join(key["models"])


def _path(key_id: str) -> str:
    return f"{PATH}/{quote(key_id, safe='')}"


def _time(seconds: int | None) -> str:
    return "" if seconds is None else local_time(seconds)

"""``populace model feedback``: gives feedback on a reply, and lists what was given."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from populace.actors.forgetting import SAID_ROLES
from populace.cli.arguments import AsJson, Name
from populace.cli.console import CommandFailed, local_time, out, print_json
from populace.cli.gateway_client import GatewayClient, gateway, model_path
from populace.policies.ingestion import ADDED_ROLE

ROLES_WITHOUT_REPLY = SAID_ROLES | {ADDED_ROLE}
"""The roles of the first message of turns that have no reply, or whose reply was forgotten."""


def feedback(
    name: Name,
    turn: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Position of the turn in the log that the feedback is about.",
            show_default="the newest that has a reply",
        ),
    ] = None,
    up: Annotated[bool, typer.Option("--up", help="The reply was good.")] = False,
    down: Annotated[bool, typer.Option("--down", help="The reply was bad.")] = False,
    rating: Annotated[
        float | None, typer.Option(min=0, max=1, help="How good the reply was, from 0 to 1.")
    ] = None,
    correction: Annotated[str | None, typer.Option(help="What the reply should have been.")] = None,
    reward: Annotated[float | None, typer.Option(help="Reward for the reply, any number.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give feedback on a reply; without any, list the feedback on the model's replies.

    Examples:
        populace model feedback ada --up
        populace model feedback ada --down --correction "Just the name, please."
        populace model feedback ada --turn 7 --rating 0.5
        populace model feedback ada
    """
    said = {"rating": rating, "correction": correction, "reward": reward}
    said["thumb"] = "up" if up else "down" if down else None
    said = {field: value for field, value in said.items() if value is not None}
    with gateway() as client:
        if up and down:
            raise CommandFailed("--up and --down exclude each other.")
        if not said:
            query = "" if turn is None else f"?start={turn}"
            body = client.request("GET", model_path(name, f"/feedback{query}"))
            print_json(body) if as_json else _print_table(body["data"])
            return
        position = newest_reply(client, name) if turn is None else turn
        given = client.request("POST", "/v1/feedback", json={"model": name, "position": position, **said})
        print_json(given) if as_json else out.print(f"Noted, on turn {position} of [bold]{name}[/].")


def newest_reply(client: GatewayClient, name: str) -> int:
    """Return the position of the newest turn that has a reply. Raises ``CommandFailed`` if none has."""
    for turn in client.newest_turns(name):
        if turn["finish_reason"] is not None and turn["messages"][0]["role"] not in ROLES_WITHOUT_REPLY:
            return turn["position"]
    raise CommandFailed(f"{name} has said nothing yet that feedback could be about.")


def _print_table(given: list[dict[str, Any]]) -> None:
    if not given:
        out.print("Nobody has said what they think.")
        return
    table = Table("turn", "when", "thumb", "rating", "reward", "correction")
    for opinion in given:
        cells = (opinion["thumb"], opinion["rating"], opinion["reward"], opinion["correction"])
        said = [Text("" if cell is None else str(cell)) for cell in cells]
        table.add_row(str(opinion["position"]), local_time(opinion["created"]), *said)
    out.print(table)

"""``populace model contribute``: the consent to be learned from for everybody."""

from typing import Annotated

import typer

from populace.cli.console import named_errors, out, print_json
from populace.cli.gateway_client import GatewayClient, model_path
from populace.settings.settings import Settings

EXAMPLES = """Examples: `populace model contribute ada` (the community may learn from ada's liked replies),
`populace model contribute ada --withdraw`, `populace model contribute ada --show`."""


def contribute(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="End the consent.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let the tenant's community learn from the replies of a model that were liked.

    It is another consent than `share`, and off until it is given.
    """
    if withdraw and show:
        raise typer.BadParameter("Say either --withdraw or --show.")
    method = "GET" if show else "DELETE" if withdraw else "PUT"
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        said = client.request(method, model_path(name, "/contribution"))
    if as_json:
        print_json(said)
        return
    told = "may be" if said["contributes"] else "is not"
    out.print(f"[bold]{name}[/] {told} learned from by the community.")
    if withdraw and said["since"] is not None:
        out.print("What the community serves now may have learned from it, until its next training.")

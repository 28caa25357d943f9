"""``populace model share``, ``unshare``, ``contribute`` and ``withdraw``: what others may have of a model."""

from typing import Annotated, Literal

import typer

from populace.cli.arguments import AsJson, Name
from populace.cli.console import out, print_json
from populace.cli.gateway_client import gateway, model_path


def share(
    name: Name,
    texts: Annotated[
        bool, typer.Option("--texts", help="Share the texts of its answers, and not only its votes.")
    ] = False,
) -> None:
    """Have a model take part in answers of the population, until `populace model unshare`.

    It answers with its weights alone: its memory and its log are not read, and nothing is recorded with it.

    Examples:
        populace model share ada            # its votes are told
        populace model share ada --texts    # what it says as well
    """
    shared = "texts" if texts else "votes"
    _share(name, shared)
    out.print(f"[bold]{name}[/] takes part and shares its {shared}.")


def unshare(name: Name) -> None:
    """Have a model take part in answers of the population no longer.

    Examples:
        populace model unshare ada
    """
    _share(name, None)
    out.print(f"[bold]{name}[/] takes part no longer.")


def contribute(name: Name, as_json: AsJson = False) -> None:
    """Let the tenant's community learn from the replies of a model that were liked.

    It is another consent than `share`, and off until it is given. `populace model withdraw` ends it.

    Examples:
        populace model contribute ada
    """
    _consent("PUT", name, as_json=as_json)


def withdraw(name: Name, as_json: AsJson = False) -> None:
    """End the consent that `populace model contribute` gave.

    Examples:
        populace model withdraw ada
    """
    _consent("DELETE", name, as_json=as_json)


def _share(name: str, shared: Literal["texts", "votes"] | None) -> None:
    with gateway() as client:
        client.request("PUT", model_path(name, "/sharing"), json={"sharing": shared})


def _consent(method: str, name: str, *, as_json: bool) -> None:
    with gateway() as client:
        said = client.request(method, model_path(name, "/contribution"))
    if as_json:
        print_json(said)
        return
    told = "may be" if said["contributes"] else "is not"
    out.print(f"[bold]{name}[/] {told} learned from by the community.")
    if not said["contributes"] and said["since"] is not None:
        out.print("What the community serves now may have learned from it, until its next training.")

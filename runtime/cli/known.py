"""``populace model known``: what a model knows about its person."""

from textwrap import shorten
from typing import Annotated, Any

import typer
from rich.text import Text

from populace.cli.arguments import AsJson, Name
from populace.cli.console import out, print_json
from populace.cli.gateway_client import GatewayClient, gateway, model_path
from populace.client.progress import shown

SAID_CHARACTERS = 100
UNKNOWN_SHOWN = 5


def known(
    name: Name,
    questions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUESTION",
            help="Ask these questions.",
            show_default="common ones, and what its log speaks of",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model knows about its person: each answer, how sure it is, and the turn it comes from.

    Correct a fact by telling it to the model again; remove it with `populace model forget NAME TURN`.

    Examples:
        populace model known ada
        populace model known ada "What is my cat's name?" "Where do I work?"
    """
    with gateway() as client:
        facts = asked(client, name, questions or [])
    print_json(facts) if as_json else print_known(name, facts)


def asked(client: GatewayClient, name: str, questions: list[str]) -> dict[str, Any]:
    """Ask the model what it knows; the gateway's object."""
    with shown(f"Asking {name} what it knows"):
        return client.request("GET", model_path(name, "/memory/known"), params={"question": questions})


def print_known(name: str, known: dict[str, Any]) -> None:
    """Print what the model knows, and the questions that nothing answers."""
    for fact in known["facts"]:
        how = "read there" if fact["read"] else f"{fact['sure']:.0%} sure"
        out.print(Text(fact["question"], "dim"), Text(fact["answer"].strip(), "bold"))
        said = shorten(fact["said"], SAID_CHARACTERS, placeholder=" ...")
        out.print(Text(f"  {how}, from turn {fact['position']}: {said}", "dim"))
    if known["facts"]:
        first = known["facts"][0]["position"]
        out.print(
            f"Tell it anew to correct it; `populace model forget {name} {first}` forgets turn {first}.",
            highlight=False,
        )
    if known["unknown"]:
        more = len(known["unknown"]) - UNKNOWN_SHOWN
        questions = [*known["unknown"][:UNKNOWN_SHOWN], *([f"And {more} more."] if more > 0 else [])]
        told = f"Nothing that was said answers: {' '.join(questions)}"
        out.print(told, style="dim", highlight=False, markup=False)

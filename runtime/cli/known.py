"""``populace model known``: what a model knows about its person."""

from textwrap import shorten
from typing import Annotated, Any

import typer
from rich.text import Text

from populace.actors.known import SURE_MIN
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
    sure_min: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out what it is less certain of, from 0 to 1.")
    ] = SURE_MIN,
    wait: Annotated[
        bool, typer.Option("--wait", help="Ask it anew first, if anything was said or learned since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a model knows about its person: each answer, how sure it is, and the turn it comes from.

    It is shown as the model answered last, and asked anew in the background. The first time waits for it.
    Correct a fact by telling it to the model again; remove it with `populace model forget NAME TURN`.

    Examples:
        populace model known ada
        populace model known ada "What is my cat's name?" "Where do I work?"
    """
    with gateway() as client:
        facts = asked(client, name, questions or [], sure_min=sure_min, wait=wait)
    print_json(facts) if as_json else print_known(name, facts)


def asked(
    client: GatewayClient, name: str, questions: list[str], *, sure_min: float = SURE_MIN, wait: bool = False
) -> dict[str, Any]:
    """Ask the model what it knows; the gateway's object. A model that was never asked is waited for."""
    path, query = model_path(name, "/memory/known"), {"question": questions, "sure_min": sure_min}
    with shown(f"Asking {name} what it knows"):
        known = client.request("GET", path, params={**query, "wait": wait})
        if known["position"] is None:
            known = client.request("GET", path, params={**query, "wait": True})
        return known


def print_known(name: str, known: dict[str, Any]) -> None:
    """Print what the model knows, and the questions that nothing answers."""
    if known["refreshing"]:
        out.print(
            f"As of its first {known['position']} turns; it is being asked anew, and --wait waits for that.",
            style="dim",
            highlight=False,
        )
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
        what = (
            "Nothing that was said answers"
            if known["facts"]
            else "It knows nothing of its person. Asked were"
        )
        out.print(f"{what}: {' '.join(questions)}", style="dim", highlight=False, markup=False)

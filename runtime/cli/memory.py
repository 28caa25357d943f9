"""``populace model memory``: shows what a model remembers."""

from contextlib import nullcontext
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from populace.actors.known import SURE_MIN
from populace.cli.console import CommandFailed, err, local_time, named_errors, out, print_json
from populace.cli.gateway_client import GatewayClient, model_path
from populace.settings.settings import Settings

EXAMPLES = """Examples:

populace model memory ada

populace model memory ada --ask "What is my cat's name?" --ask "Where do I work?"

populace model memory ada --state --picture ada.svg

populace model memory ada --restore 12

populace model memory ada --forget
"""

BAR_WIDTH = 40
SAID_WIDTH = 60


def memory(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    ask: Annotated[
        list[str] | None, typer.Option(help="Ask this question instead of the common ones. Repeatable.")
    ] = None,
    sure_min: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out what it is less certain of, from 0 to 1.")
    ] = SURE_MIN,
    wait: Annotated[
        bool, typer.Option("--wait", help="Ask it anew first, if anything was said or learned since.")
    ] = False,
    state: Annotated[
        bool,
        typer.Option(
            "--state", help="Ask nothing; show the norm of each layer's state and the newest writes."
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the state to this SVG file.", dir_okay=False)
    ] = None,
    restore: Annotated[
        int | None, typer.Option(min=0, help="First set the memory to its state after this many turns.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="First empty the memory; the log stays.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model knows about its person: each answer, how sure it is, and the turn it comes from.

    It is shown as the model answered last, and asked anew in the background. The first time waits for it.

    Correct a fact by telling it to the model again; remove it with `populace model forget NAME TURN`.
    """
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        if restore is not None and forget:
            raise CommandFailed("--restore and --forget exclude each other.")
        if restore is not None or forget:
            client.request("POST", model_path(name, "/memory"), json={"position": restore})
        body = client.request("GET", model_path(name, "/memory"))
        if picture is not None:
            drawn = client.text(model_path(name, "/memory/picture"))
            try:
                picture.write_text(drawn, encoding="utf-8")
            except OSError as error:
                raise CommandFailed(f"{picture} cannot be written: {error.strerror}.") from error
        is_asked = not (state or picture or forget or restore is not None)
        known = None
        if ask or is_asked:
            query = {"question": ask or [], "sure_min": sure_min, "wait": wait}
            known = _asked(client, name, query, quiet=as_json)
        if as_json:
            print_json(body if known is None else {**body, "known": known})
        elif known is None:
            _print_memory(body)
        else:
            print_known(body, known)
        if picture is not None and not as_json:
            out.print(f"The picture is in {picture}.", highlight=False, markup=False)


def _asked(client: GatewayClient, name: str, query: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    path = model_path(name, "/memory/known")
    with nullcontext() if quiet else err.status("Asking the model"):
        known = client.request("GET", path, params=query)
        if known["position"] is None and not quiet:
            known = client.request("GET", path, params={**query, "wait": True})
        return known


def print_known(body: dict[str, Any], known: dict[str, Any]) -> None:
    """Print what the model knows, and the questions that nothing answers."""
    name = body["id"]
    if known["refreshing"]:
        out.print(
            f"As of its first {known['position']} turns; it is being asked anew, and --wait waits for that.",
            style="dim",
            highlight=False,
        )
    if known["facts"]:
        table = Table("question", "answer", "how", "turn", "what was said there")
        for fact in known["facts"]:
            said = shorten(fact["said"], SAID_WIDTH, placeholder=" ...")
            how = "read there" if fact["read"] else f"{fact['sure']:.0%} sure"
            question, answer = Text(fact["question"]), Text(fact["answer"].strip())
            table.add_row(question, answer, how, str(fact["position"]), Text(said))
        out.print(table)
        first = known["facts"][0]["position"]
        out.print(
            f"Tell it anew to correct it; `populace model forget {name} {first}` forgets turn {first}.",
            highlight=False,
        )
    if known["unknown"]:
        what = (
            "Nothing that was said answers"
            if known["facts"]
            else "It knows nothing of its person. Asked were"
        )
        out.print(f"{what}: {' '.join(known['unknown'])}", style="dim", highlight=False, markup=False)


def _print_memory(body: dict[str, Any]) -> None:
    if body["module"] is None:
        out.print(f"[bold]{body['id']}[/] remembers nothing: its memory is empty.")
        return
    out.print(
        f"[bold]{body['id']}[/]: {body['version']} turns went through its memory of {body['bytes']} bytes."
    )
    if body["module"] != body["served_module"]:
        served = "No" if body["served_module"] is None else "Another"
        out.print(f"[yellow]{served} memory module is served now: this state cannot be used.[/]")
    strongest = max(body["norms"]) or 1.0
    for layer, norm in enumerate(body["norms"]):
        bar = "█" * round(BAR_WIDTH * norm / strongest)
        out.print(f"  layer {layer:>2}  {norm:6.2f}  {bar}", highlight=False)
    table = Table("turn", "when", "messages written", "reply tokens")
    for write in body["writes"]:
        when = local_time(write["created"])
        table.add_row(str(write["position"]), when, str(write["messages"]), str(write["reply_tokens"]))
    out.print(table)

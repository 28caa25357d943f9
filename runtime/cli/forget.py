"""``populace model forget``: removes turns from a model for good."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from populace.actors.forgetting import TURNS_MAX
from populace.cli.arguments import Name
from populace.cli.console import CommandFailed, out, print_json, print_turn
from populace.cli.gateway_client import GatewayClient, gateway, model_path
from populace.client.progress import shown

BY_POSITION = "Name the turns to forget by their positions."
"""What to do where what the words found cannot be confirmed."""


def forget(
    name: Name,
    turns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TURN", help="Positions in the log of the turns to forget, or words said in them."
        ),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="Words that were said in the turns; also if they are numbers.")
    ] = None,
    empty_memory: Annotated[
        bool,
        typer.Option(
            "--empty-memory", help="Empty the memory instead of recomputing it from the remaining turns."
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask for confirmation; the turns must be given by position."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; turns are forgotten only with --yes.")
    ] = False,
) -> None:
    """Forget turns for good: they leave the log, the memory, and every revision that learned from them.

    Shows the turns and asks first. It then asks about later turns whose prompts contained them and which may
    repeat them. Backups and exports that were made before keep the turns.

    Examples:
        populace model forget ada 7
        populace model forget ada 7 9 12 --yes
        populace model forget ada "my password"
        populace model forget ada 7 --empty-memory
    """
    with gateway() as client:
        if bool(turns) == (query is not None):
            raise CommandFailed("Name the turns by their positions, or by words that were said in them.")
        positions = [int(turn) for turn in turns or [] if turn.isdecimal()]
        if turns and len(positions) < len(turns):
            query = " ".join(turns)
        asker = Asker(client, name, "emptied" if empty_memory else "folded")
        if as_json:
            _forget_as_json(asker, positions, query, yes=yes)
            return
        wanted = positions if query is None else _found(asker, query)
        if query is not None and yes:
            raise CommandFailed(f"Nothing was forgotten. {BY_POSITION}")
        if not yes and query is None:
            print_turns(asker.turns(wanted))
        if not yes and not typer.confirm(f"Forget {said(wanted)} of `{name}` for good?"):
            raise typer.Exit(1)
        forget_turns(asker, wanted, None if yes else typer.confirm)


class Asker:
    """Sends the requests about one model to the gateway."""

    def __init__(self, client: GatewayClient, name: str, memory: str = "folded") -> None:
        self.name = name
        self._client = client
        self._memory = memory

    def post(self, what: dict[str, Any]) -> dict[str, Any]:
        with shown("Forgetting" if "positions" in what else "Looking"):
            body = {**what, "memory": self._memory}
            return self._client.request("POST", model_path(self.name, "/forget"), json=body)

    def turns(self, positions: list[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for position in positions:
            query = {"start": position, "limit": 1}
            page = self._client.request("GET", model_path(self.name, "/interactions"), params=query)["data"]
            if [turn["position"] for turn in page] != [position]:
                raise CommandFailed(f"The log of {self.name} holds no turn {position}.")
            found += page
        return found


def forget_turns(asker: Asker, positions: list[int], confirm: Callable[[str], bool] | None) -> set[int]:
    """Forget the turns, and those that may repeat them if ``confirm`` agrees; return all that are gone."""
    gone = set[int]()
    while positions:
        may_repeat = set[int]()
        for start in range(0, len(positions), TURNS_MAX):
            answer = asker.post({"positions": positions[start : start + TURNS_MAX]})
            _print_answer(answer)
            gone.update(answer["forgotten"], answer["already_forgotten"])
            may_repeat.update(answer["shown"], answer["repeated"])
        positions = sorted(may_repeat - gone)
        if positions:
            print_turns(asker.turns(positions))
            if confirm is None or not confirm(f"Forget {said(positions)} too?"):
                break
    return gone


def find_turns(asker: Asker, query: str) -> list[int]:
    """Show the turns that have all of the words and return their positions; else show the nearest ones."""
    answer = asker.post({"query": query})
    print_turns(answer["found"])
    if answer["repeated"] or not answer["found"]:
        out.print(answer["message"], highlight=False, markup=False)
    if answer["near"]:
        print_turns(answer["near"])
        out.print(BY_POSITION, highlight=False)
    return [turn["position"] for turn in answer["found"]]


def print_turns(turns: list[dict[str, Any]]) -> None:
    for turn in turns:
        print_turn(turn)


def said(positions: list[int]) -> str:
    """Name turns in a question: ``turn 7``, ``turns 7, 9``."""
    told = ", ".join(str(position) for position in positions)
    return f"turn {told}" if len(positions) == 1 else f"turns {told}"


def _forget_as_json(asker: Asker, positions: list[int], query: str | None, *, yes: bool) -> None:
    if query is None and not yes:
        raise CommandFailed("--json asks nothing: forget with --yes.")
    print_json(asker.post({"positions": positions} if query is None else {"query": query}))
    if query is not None and yes:
        raise CommandFailed(f"Nothing was forgotten. {BY_POSITION}")


def _found(asker: Asker, query: str) -> list[int]:
    found = find_turns(asker, query)
    if not found:
        raise typer.Exit(1)
    return found


def _print_answer(answer: dict[str, Any]) -> None:
    out.print(answer["message"], highlight=False, markup=False)
    if answer["revisions"]:
        gone = ", ".join(digest[:12] for digest in answer["revisions"])
        out.print(f"Revisions that had learned from it are gone: {gone}.", highlight=False)
    for alias, target in answer["aliases"].items():
        serves = "the base" if target == "base" else target[:12]
        learns = f"`populace model train {answer['id']}` learns again."
        out.print(f"@{alias} is {serves} now; {learns}", highlight=False)
    for number in answer["jobs"]:
        out.print(f"Training {number} was cancelled.", highlight=False)
    if answer["memory"] == "emptied":
        out.print("The memory is empty.", highlight=False)

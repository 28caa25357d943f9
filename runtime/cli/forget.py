"""``populace model forget``: removes turns from a model for good."""

from typing import Annotated, Any

import typer

from populace.actors.forgetting import TURNS_MAX
from populace.cli.console import CommandFailed, err, named_errors, out, print_json, print_turn
from populace.cli.gateway_client import GatewayClient, model_path
from populace.settings.settings import Settings

EXAMPLES = """Examples:

populace model forget ada 7

populace model forget ada 7 9 12 --yes

populace model forget ada "my password"

populace model forget ada 7 --empty-memory
"""

BY_POSITION = "Name the turns to forget by their positions."
"""What to do where what the words found cannot be confirmed."""


def forget(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    turns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TURN]...", help="Positions in the log of the turns to forget, or words said in them."
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
    """
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        if bool(turns) == (query is not None):
            raise CommandFailed("Name the turns by their positions, or by words that were said in them.")
        positions = [int(turn) for turn in turns or [] if turn.isdecimal()]
        if turns and len(positions) < len(turns):
            query = " ".join(turns)
        asker = _Asker(client, name, "emptied" if empty_memory else "folded")
        if query is not None:
            wanted = _found(asker, query, yes=yes, as_json=as_json)
        elif as_json and not yes:
            raise CommandFailed("--json asks nothing: forget with --yes.")
        else:
            wanted = positions
            if not yes:
                _print_turns(asker.turns(wanted))
        if not yes and not typer.confirm(f"Forget {_said(wanted)} of `{name}` for good?"):
            raise typer.Exit(1)
        _forget_all(asker, wanted, yes=yes, as_json=as_json)


class _Asker:
    """Sends the requests about one model to the gateway."""

    def __init__(self, client: GatewayClient, name: str, memory: str) -> None:
        self.name = name
        self._client = client
        self._memory = memory

    def post(self, what: dict[str, Any]) -> dict[str, Any]:
        with err.status("Forgetting" if "positions" in what else "Looking"):
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


def _forget_all(asker: _Asker, positions: list[int], *, yes: bool, as_json: bool) -> None:
    """Forget the turns, and then those that may repeat them if the person agrees."""
    if as_json:
        print_json(asker.post({"positions": positions}))
        return
    while positions:
        gone, may_repeat = set[int](), set[int]()
        for start in range(0, len(positions), TURNS_MAX):
            answer = asker.post({"positions": positions[start : start + TURNS_MAX]})
            _print_answer(answer)
            gone.update(answer["forgotten"], answer["already_forgotten"])
            may_repeat.update(answer["shown"], answer["repeated"])
        positions = sorted(may_repeat - gone)
        if positions:
            _print_turns(asker.turns(positions))
            if yes or not typer.confirm(f"Forget {_said(positions)} too?"):
                return


def _found(asker: _Asker, query: str, *, yes: bool, as_json: bool) -> list[int]:
    """Show the turns that the words find; return their positions if the person can be asked to confirm."""
    answer = asker.post({"query": query})
    if as_json:
        print_json(answer)
        if yes:
            raise CommandFailed(f"Nothing was forgotten. {BY_POSITION}")
        raise typer.Exit
    _print_turns(answer["found"])
    out.print(answer["message"], highlight=False, markup=False)
    if not answer["found"]:
        raise typer.Exit(1)
    if yes or not answer["exact"]:
        out.print(BY_POSITION, highlight=False)
        raise typer.Exit(1)
    return [turn["position"] for turn in answer["found"]]


def _print_turns(turns: list[dict[str, Any]]) -> None:
    for turn in turns:
        print_turn(turn)


def _print_answer(answer: dict[str, Any]) -> None:
    out.print(answer["message"], highlight=False, markup=False)
    if answer["revisions"]:
        gone = ", ".join(digest[:12] for digest in answer["revisions"])
        out.print(f"Revisions that had learned from it are gone: {gone}.", highlight=False)
    for alias, target in answer["aliases"].items():
        serves = "the base" if target == "base" else target[:12]
        out.print(f"@{alias} is {serves} now; `populace train {answer['id']}` learns again.", highlight=False)
    for number in answer["jobs"]:
        out.print(f"Training {number} was cancelled.", highlight=False)
    if answer["memory"] == "emptied":
        out.print("The memory is empty.", highlight=False)


def _said(positions: list[int]) -> str:
    said = ", ".join(str(position) for position in positions)
    return f"turn {said}" if len(positions) == 1 else f"turns {said}"

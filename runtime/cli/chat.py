"""``populace chat``: talk to a personal model; a conversation continues where it ended."""

import sys
from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import InMemoryHistory
from rich.markup import escape

from populace.actors.engine import TEMPERATURE_DEFAULT
from populace.actors.errors import InvalidName
from populace.cli.console import CommandFailed, counted, err, fail, named_errors, out, print_json, print_turn
from populace.cli.gateway_client import GatewayClient, GatewayError, model_path
from populace.gateway.http.target import BASE_MODEL, PEEK_SUFFIX, POPULATION_MODEL
from populace.policies.ingestion import ADDED_ROLE
from populace.policies.retrieval import RETRIEVED_MAX
from populace.settings.settings import Settings
from populace.storage.records.errors import PopulaceError
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem

TURNS_RESUMED = 8
TURNS_LISTED = 100
COMMANDS = {
    "/new": "start afresh, with nothing before it",
    "/log": f"show the newest {TURNS_LISTED} turns of the log",
    "/undo": "forget the last turn for good, as if it had never been said; again for the one before",
    "/help": "show this",
    "/quit": "leave, as Ctrl-D does",
}
NAMED = (CommandFailed, PopulaceError)
"""The errors that a conversation survives: a server that went away may be back for the next message."""

ESCAPE = "//"
"""Prefix that sends the rest, with one slash, as a message instead of reading it as a command."""


def chat(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the personal model; `name@alias` selects another revision, `name:peek` leaves no "
            "trace, and `base` is the base."
        ),
    ],
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Send this message, print the reply and exit.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the model if it does not exist.")] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new conversation instead of continuing the last one.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(help="Largest length of a reply in tokens.", min=1)] = 256,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Sampling temperature; 0 takes the most likely token. "
            f"Default: as the base recommends, else {TEMPERATURE_DEFAULT:g}.",
            min=0,
            max=2,
        ),
    ] = None,
    retrieve: Annotated[
        int,
        typer.Option(
            help="Number of earlier turns of the log, those that fit best, to put into each prompt.",
            min=0,
            max=RETRIEVED_MAX,
        ),
    ] = 0,
    corrections: Annotated[
        bool,
        typer.Option(
            "--corrections/--no-corrections", help="Keep to the correction of an earlier reply that applies."
        ),
    ] = True,
    told: Annotated[
        bool,
        typer.Option("--told/--no-told", help="Answer a question from the one earlier turn that tells it."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="With -m: print the completion as JSON.")] = False,
) -> None:
    """Talk to a personal model.

    Examples: `populace chat ada`, `populace chat ada -m "What is the capital of France?"`.
    """
    with named_errors(), GatewayClient.of_settings(Settings.from_environment()) as client:
        model = model_of(name)
        if model is not None:
            _ensure_model(client, model, create=create, may_ask=message is None and sys.stdin.isatty())
        options = {"max_tokens": max_tokens} | ({} if temperature is None else {"temperature": temperature})
        # What is the default is not sent: the population has no log, and refuses a context.
        context = {"retrieve": retrieve} if retrieve else {}
        context |= {"corrections": False} if not corrections else {}
        context |= {"told": False} if not told else {}
        session = ChatSession(client, name, **options, **({"context": context} if context else {}))
        if not new:
            session.resume()
        if message is not None:
            session.ask_once(message, as_json=as_json)
        else:
            session.converse()


class ChatSession:
    """The messages that the model is shown, and the loop around them."""

    def __init__(self, client: GatewayClient, name: str, **options: Any) -> None:
        """Make a session; ``options`` are sent with every completion."""
        self._client = client
        self._name = name
        self._model = model_of(name)
        self._said: list[int] = []
        self._options = {"model": name, **options}
        self._messages: list[dict[str, str]] = []

    def resume(self) -> None:
        """Take the newest turns of the log, if there is one, as the conversation so far."""
        if self._model is None:
            return
        newest = islice(self._client.newest_turns(self._model, page=TURNS_RESUMED), TURNS_RESUMED)
        for turn in reversed([*newest]):
            spoken = [message for message in turn["messages"] if message["role"] == "user"]
            # A turn that was forgotten, or that set the memory, has nothing, and what was added no reply.
            if spoken and turn["messages"][0]["role"] != ADDED_ROLE:
                replied = turn["finish_reason"] is not None
                self._messages += [spoken[-1]]
                self._messages += [{"role": "assistant", "content": turn["reply"]}] if replied else []

    def ask_once(self, message: str, *, as_json: bool) -> None:
        self._messages.append({"role": "user", "content": message})
        if as_json:
            print_json(self._fitting(self._whole))
        else:
            self._reply()

    def converse(self) -> None:
        """Read messages until the end; a failed turn leaves the conversation as it was."""
        turns = len(self._messages) // 2
        out.print(
            f"[dim]Talking to {escape(self._name)}"
            + (f", which goes on from its last {counted(turns, 'turn')}." if turns else ".")
            + " /help shows the commands.[/]"
        )
        read = self._reader()
        while True:
            try:
                line = read().strip()
            except (EOFError, KeyboardInterrupt):
                out.print()
                return
            if line in ("/quit", "/exit"):
                return
            if line.startswith("/") and not line.startswith(ESCAPE):
                self._command(line)
            elif line:
                self._turn(line.removeprefix("/") if line.startswith(ESCAPE) else line)

    def _reader(self) -> Callable[[], str]:
        """Return what reads messages: from a terminal with editing, history and paste, else line by line."""
        if not sys.stdin.isatty():
            return lambda: out.input("[bold cyan]you[/] ")
        said = [message["content"] for message in self._messages if message["role"] == "user"]
        session: PromptSession[str] = PromptSession(history=InMemoryHistory(said))
        return lambda: session.prompt(ANSI("\x1b[1;36myou\x1b[0m "))

    def _command(self, line: str) -> None:
        try:
            if line == "/new":
                self._messages.clear()
            elif line == "/log":
                self._show_log()
            elif line == "/undo":
                self._undo()
            else:
                if line != "/help":
                    err.print(f"There is no command {line!r}. With // a message may begin so.", markup=False)
                for name, effect in COMMANDS.items():
                    out.print(f"[bold]{name:<6}[/] {effect}", highlight=False)
        except NAMED as error:
            err.print(str(error), style="red", highlight=False, markup=False)

    def _undo(self) -> None:
        if self._model is None or not self._said:
            err.print("No turn of this chat is left to forget. `populace model forget` forgets earlier ones.")
            return
        answer = self._client.request(
            "POST", model_path(self._model, "/forget"), json={"positions": self._said[-1:]}
        )
        del self._messages[-2:]
        self._said.pop()
        out.print(answer["message"], style="dim", highlight=False, markup=False)

    def _turn(self, line: str) -> None:
        before = list(self._messages)
        self._messages.append({"role": "user", "content": line})
        try:
            self._reply()
        except NAMED as error:
            self._messages = before
            out.print()
            err.print(str(error), style="red", highlight=False, markup=False)
        except KeyboardInterrupt:
            self._messages = before
            out.print("\n[dim](given up; the log has your message, without a reply)[/]")

    def _reply(self) -> None:
        out.print(f"[bold green]{escape(self._name)}[/] ", end="")
        text = self._fitting(self._stream)
        out.print()
        self._messages.append({"role": "assistant", "content": text})

    def _whole(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._client.request("POST", "/v1/chat/completions", json=body)

    def _stream(self, body: dict[str, Any]) -> str:
        pieces: list[str] = []
        position: int | None = None
        for chunk in self._client.stream_chat(body):
            position = chunk.get("populace", {}).get("log_position", position)
            for choice in chunk["choices"]:
                # The population's chunk without an answer has a refusal instead of content.
                piece = choice["delta"].get("content") or choice["delta"].get("refusal") or ""
                pieces.append(piece)
                out.print(piece, end="", highlight=False, markup=False, soft_wrap=True)
        if position is not None:  # a reply that breaks off, or that leaves no trace, is no turn to take back
            self._said.append(position)
        return "".join(pieces)

    def _fitting(self, send: Any) -> Any:
        """Send, and drop the older half of the conversation for as long as it exceeds the context."""
        while True:
            try:
                return send({**self._options, "messages": self._messages})
            except GatewayError as error:
                if error.code != "context_length_exceeded" or len(self._messages) < 3:
                    raise
                # An odd count keeps the user's message first.
                del self._messages[: (len(self._messages) // 4) * 2 or 2]

    def _show_log(self) -> None:
        if self._model is None:
            err.print(f"`{self._name}` keeps no log.")
            return
        # One more than is shown tells whether there are others.
        newest = self._client.newest_turns(self._model, page=TURNS_LISTED + 1)
        turns = [*islice(newest, TURNS_LISTED + 1)]
        if len(turns) > TURNS_LISTED:
            path = model_path(self._model, "/interactions")
            out.print(
                f"[dim]The newest {TURNS_LISTED} turns; `GET {path}` has those before them.[/]",
                highlight=False,
            )
        for turn in reversed(turns[:TURNS_LISTED]):
            print_turn(turn)


def model_of(target: str) -> str | None:
    """Return the name of the personal model that a target names; None for one that has no log."""
    if target in (BASE_MODEL, POPULATION_MODEL):
        return None
    return target.removesuffix(PEEK_SUFFIX).partition("@")[0]


def _ensure_model(client: GatewayClient, name: str, *, create: bool, may_ask: bool) -> None:
    """Create the model if it is missing and may be. Raises ``InvalidName`` for a name that none can have."""
    problem = name_problem(name, reserved=RESERVED_MODEL_NAMES)
    if problem is not None:
        raise InvalidName(name, problem)
    try:
        client.request("GET", model_path(name))
        return
    except GatewayError as error:
        if error.status != 404:
            raise
    question = f"There is no model `{name}` yet. Create it?"
    if not create and not (may_ask and typer.confirm(question, default=True)):
        fail(f"The model `{name}` does not exist. Create it with `populace model create {name}`.")
    client.request("POST", "/v1/personal-models", json={"name": name})

"""``populace run`` and ``populace model chat``: talk to a personal model; it goes on where it ended."""

import sys
from collections.abc import Callable
from difflib import get_close_matches
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from populace.actors.errors import InvalidName
from populace.cli.arguments import names_of_models
from populace.cli.console import CommandFailed, counted, err, fail, named_errors, out, print_json, print_turn
from populace.cli.feedback import newest_reply
from populace.cli.forget import Asker, find_turns, forget_turns, print_turns, said
from populace.cli.gateway_client import GatewayClient, GatewayError, gateway, model_path
from populace.cli.known import asked, print_known
from populace.gateway.http.target import BASE_MODEL, PEEK_SUFFIX, POPULATION_MODEL
from populace.policies.ingestion import ADDED_ROLE
from populace.policies.retrieval import RETRIEVED_MAX
from populace.storage.records.errors import PopulaceError
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem

TURNS_RESUMED = 8
TURNS_LISTED = 100
COMMANDS = {
    "/good": "the last reply was good; the next training learns that",
    "/bad": "the last reply was bad",
    "/correct TEXT": "what the last reply should have been; it is said so from the next turn on",
    "/known": "show what it knows about you, and from which turn",
    "/forget TEXT": "forget turns for good: those that have these words, or the turn of this number",
    "/undo": "forget the last turn for good, as if it had never been said; again for the one before",
    "/new": "start afresh, with nothing before it",
    "/log": f"show the newest {TURNS_LISTED} turns of the log",
    "/help": "show this",
    "/quit": "leave, as Ctrl-D does",
}
LEAVE = ("/quit", "/exit", "/bye")
NAMED = (CommandFailed, PopulaceError)
"""The errors that a conversation survives: a server that went away may be back for the next message."""

ESCAPE = "//"
"""Prefix that sends the rest, with one slash, as a message instead of reading it as a command."""

Read = Callable[[str], str]
"""Reads a line, given what to ask with. Raises ``EOFError`` at the end."""


def run(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the personal model; `name@alias` selects another revision, `name:peek` leaves no "
            "trace, and `base` is the base.",
            autocompletion=names_of_models,
        ),
    ],
    message: Annotated[
        list[str] | None,
        typer.Argument(
            help="Send this message, print the reply and exit. What is piped in is added below it.",
            show_default="a conversation",
        ),
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the model if it does not exist.")] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new conversation instead of continuing the last one.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(help="Largest length of a reply in tokens.", min=1)] = 256,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Sampling temperature; 0 takes the most likely token. Default: as the base recommends.",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the one completion as JSON.")] = False,
) -> None:
    """Talk to a personal model. Into a pipe, and with a message, only the reply is printed.

    Examples:
        populace run ada
        populace run ada "What is photosynthesis?"
        echo hi | populace run ada
        populace run ada "Summarise this:" < letter.txt > summary.txt
    """
    said = _message(message)
    if said is None and not (out.is_terminal or as_json):
        fail(f'Say what to send: populace run {name} "hi"')
    with named_errors():
        model = _checked_model(name)
    with gateway() as client:
        if model is not None:
            _ensure_model(client, model, create=create, may_ask=said is None)
        options = {"max_tokens": max_tokens} | ({} if temperature is None else {"temperature": temperature})
        # What is the default is not sent: the population has no log, and refuses a context.
        context = {"retrieve": retrieve} if retrieve else {}
        context |= {"corrections": False} if not corrections else {}
        context |= {"told": False} if not told else {}
        session = ChatSession(client, name, **options, **({"context": context} if context else {}))
        if not new:
            session.resume()
        if said is not None:
            session.ask_once(said, as_json=as_json)
        else:
            session.converse(_reader(session))


def _message(words: list[str] | None) -> str | None:
    """Return the words and below them what is piped in; None where a person is to be asked."""
    parts = [" ".join(words or ())]
    if not sys.stdin.isatty():
        parts.append(sys.stdin.read().strip())
    message = "\n\n".join(part for part in parts if part)
    if not message and not (sys.stdin.isatty() and not words):
        fail("There is nothing to send: the message is empty.")
    return message or None


def _reader(session: "ChatSession") -> Read:
    """Return what reads lines from a terminal, with editing, history and paste."""
    # What this imports loads when a conversation begins.
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import ANSI
    from prompt_toolkit.history import InMemoryHistory

    lines: PromptSession[str] = PromptSession(history=InMemoryHistory(session.messages_said))
    return lambda prompt: lines.prompt(ANSI(f"\x1b[1;36m{prompt}\x1b[0m "))


class Exchange(NamedTuple):
    """A message and its reply, if it has one; ``position`` is the turn's in the log, None for no trace."""

    said: str
    reply: str | None
    position: int | None


class ChatSession:
    """The exchanges that the model is shown, and the loop around them."""

    def __init__(self, client: GatewayClient, name: str, **options: Any) -> None:
        """Make a session; ``options`` are sent with every completion."""
        self._client = client
        self._name = name
        self._model = model_of(name)
        self._options = {"model": name, **options}
        self._exchanges: list[Exchange] = []
        self._made: list[int] = []
        self._read: Read = input

    @property
    def messages_said(self) -> list[str]:
        return [exchange.said for exchange in self._exchanges]

    def resume(self) -> None:
        """Take the newest turns of the log, if there is one, as the conversation so far."""
        if self._model is None:
            return
        newest = islice(self._client.newest_turns(self._model, page=TURNS_RESUMED), TURNS_RESUMED)
        for turn in reversed([*newest]):
            spoken = [message["content"] for message in turn["messages"] if message["role"] == "user"]
            # A turn that was forgotten, or that set the memory, has nothing, and what was added no reply.
            if spoken and turn["messages"][0]["role"] != ADDED_ROLE:
                replied = turn["finish_reason"] is not None
                self._exchanges.append(
                    Exchange(spoken[-1], turn["reply"] if replied else None, turn["position"])
                )

    def ask_once(self, message: str, *, as_json: bool) -> None:
        """Send one message; print its reply and nothing else."""
        if as_json:
            print_json(self._fitting(message, self._whole))
        else:
            self._fitting(message, self._stream)
            out.print()

    def converse(self, read: Read) -> None:
        """Read messages until the end; a failed turn leaves the conversation as it was."""
        self._read = read
        turns = len(self._exchanges)
        out.print(
            f"[dim]Talking to {escape(self._name)}"
            + (f", which goes on from its last {counted(turns, 'turn')}." if turns else ".")
            + " /help shows the commands.[/]"
        )
        while True:
            try:
                line = read("you").strip()
            except (EOFError, KeyboardInterrupt):
                out.print()
                return
            if line in LEAVE:
                return
            if line.startswith("/") and not line.startswith(ESCAPE):
                self._command(*line.partition(" ")[::2])
            elif line:
                self._turn(line.removeprefix("/") if line.startswith(ESCAPE) else line)

    def _command(self, command: str, text: str) -> None:
        verbs: dict[str, Callable[[str], None]] = {
            "/good": lambda _: self._feedback(thumb="up"),
            "/bad": lambda _: self._feedback(thumb="down"),
            "/correct": self._correct,
            "/known": self._show_known,
            "/forget": self._forget,
            "/undo": self._undo,
            "/new": self._begin_anew,
            "/log": self._show_log,
            "/help": lambda _: _print_commands(),
        }
        if command not in verbs:
            near = get_close_matches(command, [*verbs, *LEAVE], n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]}?" if near else " /help shows those that there are."
            err.print(
                f"There is no command {command!r}.{meant} With // a message may begin so.",
                markup=False,
                highlight=False,
            )
            return
        try:
            verbs[command](text.strip())
        except NAMED as error:
            err.print(str(error), style="red", highlight=False, markup=False)
        except (EOFError, KeyboardInterrupt):
            err.print("Nothing was changed.")

    def _kept(self) -> str:
        """Return the name of the model that is talked to. Raises ``CommandFailed`` if it keeps no log."""
        if self._model is None:
            raise CommandFailed(f"`{self._name}` keeps no log.")
        return self._model

    def _feedback(self, **opinion: str) -> None:
        model = self._kept()
        position = self._made[-1] if self._made else newest_reply(self._client, model)
        self._client.request("POST", "/v1/feedback", json={"model": model, "position": position, **opinion})
        learns = "" if "correction" in opinion else " The next training learns from it."
        out.print(f"[dim]Noted, on turn {position}.{learns}[/]", highlight=False)

    def _correct(self, text: str) -> None:
        if not text:
            raise CommandFailed("Say what the reply should have been: /correct My dog is called Rex.")
        self._feedback(thumb="down", correction=text)

    def _show_known(self, text: str) -> None:
        model = self._kept()
        print_known(model, asked(self._client, model, [text] if text else []))

    def _forget(self, text: str) -> None:
        if not text:
            raise CommandFailed("Say which turns: /forget swordfish, or /forget 7.")
        asker = Asker(self._client, self._kept())
        if text.isdecimal():
            positions = [int(text)]
            print_turns(asker.turns(positions))
        else:
            positions = find_turns(asker, text)
        if not positions or not self._agrees(f"Forget {said(positions)} for good?"):
            return
        self._drop(forget_turns(asker, positions, self._agrees))

    def _agrees(self, question: str) -> bool:
        return self._read(f"{question} [y/N]").strip().lower() in ("y", "yes")

    def _undo(self, _: str) -> None:
        if self._model is None or not self._made:
            raise CommandFailed("No turn of this chat is left to forget. /forget forgets earlier ones.")
        position = self._made[-1]
        answer = self._client.request(
            "POST", model_path(self._model, "/forget"), json={"positions": [position]}
        )
        self._drop({position})
        out.print(answer["message"], style="dim", highlight=False, markup=False)

    def _drop(self, gone: set[int]) -> None:
        self._exchanges = [exchange for exchange in self._exchanges if exchange.position not in gone]
        self._made = [position for position in self._made if position not in gone]

    def _begin_anew(self, _: str) -> None:
        self._exchanges.clear()

    def _turn(self, line: str) -> None:
        out.print(f"[bold green]{escape(self._name)}[/] ", end="")
        try:
            reply, position = self._fitting(line, self._stream)
        except NAMED as error:
            out.print()
            err.print(str(error), style="red", highlight=False, markup=False)
            return
        except KeyboardInterrupt:
            out.print("\n[dim](given up; the log has your message, without a reply)[/]")
            return
        out.print()
        self._exchanges.append(Exchange(line, reply, position))
        if position is not None:  # one that leaves no trace is no turn to take back
            self._made.append(position)

    def _whole(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._client.request("POST", "/v1/chat/completions", json=body)

    def _stream(self, body: dict[str, Any]) -> tuple[str, int | None]:
        pieces: list[str] = []
        position: int | None = None
        broken: str | None = None
        for chunk in self._client.stream_chat(body):
            told = chunk.get("populace", {})
            position = told.get("log_position", position)
            broken = told.get("degenerate") or broken
            for choice in chunk["choices"]:
                # The population's chunk without an answer has a refusal instead of content.
                piece = choice["delta"].get("content") or choice["delta"].get("refusal") or ""
                pieces.append(piece)
                out.print(piece, end="", highlight=False, markup=False, soft_wrap=True)
        if broken is not None:
            became = "went round in circles" if broken == "repetition" else "became noise"
            err.print(f"\n(it {became} and was ended; the next turn does not read that part)", style="dim")
        return "".join(pieces), position

    def _fitting(self, message: str, send: Any) -> Any:
        """Send the message, and drop the older half of the exchanges while they exceed the context."""
        while True:
            shown = [
                {"role": role, "content": content}
                for exchange in self._exchanges
                for role, content in (("user", exchange.said), ("assistant", exchange.reply))
                if content is not None
            ]
            try:
                return send({**self._options, "messages": [*shown, {"role": "user", "content": message}]})
            except GatewayError as error:
                if error.code != "context_length_exceeded" or not self._exchanges:
                    raise
                del self._exchanges[: len(self._exchanges) // 2 or 1]

    def _show_log(self, _: str) -> None:
        model = self._kept()
        # One more than is shown tells whether there are others.
        turns = [*islice(self._client.newest_turns(model, page=TURNS_LISTED + 1), TURNS_LISTED + 1)]
        if len(turns) > TURNS_LISTED:
            path = model_path(model, "/interactions")
            out.print(
                f"[dim]The newest {TURNS_LISTED} turns; `GET {path}` has those before them.[/]",
                highlight=False,
            )
        for turn in reversed(turns[:TURNS_LISTED]):
            print_turn(turn)


def _print_commands() -> None:
    for name, effect in COMMANDS.items():
        out.print(f"[bold]{name:<13}[/] {effect}", highlight=False)


def model_of(target: str) -> str | None:
    """Return the name of the personal model that a target names; None for one that has no log."""
    if target in (BASE_MODEL, POPULATION_MODEL):
        return None
    return target.removesuffix(PEEK_SUFFIX).partition("@")[0]


def _checked_model(target: str) -> str | None:
    """Return what ``model_of`` does. Raises ``InvalidName`` for a name that no model can have."""
    name = model_of(target)
    problem = None if name is None else name_problem(name, reserved=RESERVED_MODEL_NAMES)
    if name is None or problem is None:
        return name
    if "/" in name or "\\" in name:
        problem = f"`populace model import FILE` makes a model of a file; a name has {problem}"
    raise InvalidName(name, problem)


def _ensure_model(client: GatewayClient, name: str, *, create: bool, may_ask: bool) -> None:
    """Create the model if it is missing and may be."""
    try:
        client.request("GET", model_path(name))
        return
    except GatewayError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    question = f"There is no model `{name}` yet. Create it?"
    if not create and not (may_ask and typer.confirm(question, default=True)):
        fail(f"There is no model `{name}`. Create it with --create, or with `populace model create {name}`.")
    client.request("POST", "/v1/personal-models", json={"name": name})

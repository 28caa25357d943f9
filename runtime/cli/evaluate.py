"""``populace evaluate``: asks a model its person's own suite, which no training may make it fail."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from populace.actors.suites import object_of, read_suite
from populace.cli.console import CommandFailed, counted, err, named_errors, out, print_json
from populace.cli.gateway_client import GatewayClient, model_path
from populace.settings.settings import Settings

EXAMPLES = """Examples:

populace evaluate ada suite.jsonl

populace evaluate ada --revision 9b1d2f

populace evaluate ada --show > suite.jsonl

populace evaluate ada --remove
"""

NOT_PASSED = 3
"""The exit status if a question was not passed; 2 is wrong usage."""

REPLY_SECONDS_MAX = 3600.0
"""Two hundred questions take minutes on a CPU."""


def evaluate(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    suite: Annotated[
        Path | None,
        typer.Argument(
            help='JSON lines of questions like {"ask": "What is my dog called?", "expect": "Bruno"}. They '
            "are stored with the model, instead of earlier ones.",
            show_default="the stored ones",
        ),
    ] = None,
    revision: Annotated[
        str, typer.Option(help="Ask this revision: an alias, a digest or its beginning, or base.")
    ] = "latest",
    show: Annotated[bool, typer.Option("--show", help="Ask nothing; print the stored questions.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Ask nothing; remove the stored questions.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a model its person's own questions, and show which replies are as they should be.

    A question has a "check": "contains" (in any case of letters, the default), "exact", "number" (the last
    one of the reply), "matches" (a regular expression for the whole reply) or "likeness" (as like as "least"
    says, from 0 to 1, in words and not in truth), and a "system" text if wanted.
    Each is asked greedily, as a chat that begins with it: with the memory, corrections and what was told
    before. It leaves no trace. No training replaces a revision by one that fails, with the memory alone, a
    question that it passed.

    The exit status is 0 if all were passed, 1 after an error, and 3 if one was not.
    """
    with (
        named_errors(),
        GatewayClient.of_settings(Settings.from_environment(), reply_seconds_max=REPLY_SECONDS_MAX) as client,
    ):
        if sum((suite is not None, show, remove)) > 1:
            raise CommandFailed("A file, --show and --remove exclude each other.")
        if remove:
            body = client.request("DELETE", model_path(name, "/suite"))
            print_json(body) if as_json else out.print(f"[bold]{name}[/] has no suite.")
            return
        if show:
            stored = client.request("GET", model_path(name, "/suite"))
            print_json(stored) if as_json else _print_lines(stored["questions"])
            return
        if suite is not None:
            questions = [object_of(question) for question in read_suite(suite)]
            client.request("PUT", model_path(name, "/suite"), json={"questions": questions})
        with nullcontext() if as_json else err.status("Asking the model"):
            result = client.request(
                "POST", model_path(name, "/suite/evaluations"), json={"revision": revision}
            )
        print_json(result) if as_json else _print_result(result)
    raise typer.Exit(0 if result["passed"] == result["total"] else NOT_PASSED)


def _print_lines(questions: list[dict[str, Any]]) -> None:
    """Print the questions as a file of them has them."""
    for question in questions:
        line = {field: value for field, value in question.items() if value is not None}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _print_result(result: dict[str, Any]) -> None:
    table = Table("question", "expected", "reply", "passed")
    for row in result["rows"]:
        expected = row["expect"] if row["check"] == "contains" else f"{row['check']}: {row['expect']}"
        passed = Text("yes", "green") if row["passed"] else Text("no", "red")
        table.add_row(Text(row["ask"]), Text(expected), Text(row["reply"].strip()), passed)
    out.print(table)
    share = result["passed"] / result["total"]
    out.print(
        f"{result['passed']:,} of {counted(result['total'], 'question')} passed ({share:.0%}) "
        f"by the revision {result['revision'][:12]}.",
        highlight=False,
    )

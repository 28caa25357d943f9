"""``populace model evaluate`` and ``populace suite``: a person's own questions to their model."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from populace.actors.suites import object_of, read_suite
from populace.cli.arguments import AsJson, Name
from populace.cli.console import counted, out, print_json
from populace.cli.gateway_client import gateway, model_path
from populace.client.progress import shown

NOT_PASSED = 3
"""The exit status if a question was not passed; 2 is wrong usage."""

REPLY_SECONDS_MAX = 3600.0
"""Two hundred questions take minutes on a CPU."""


def evaluate(
    name: Name,
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
    as_json: AsJson = False,
) -> None:
    """Ask a model its person's own questions, and show which replies are as they should be.

    A question has a "check": "contains" (in any case of letters, the default), "exact", "number" (the last
    one of the reply), "matches" (a regular expression for the whole reply) or "likeness" (as like as "least"
    says, from 0 to 1, in words and not in truth), and a "system" text if wanted.
    Each is asked greedily, as a chat that begins with it: with the memory, corrections and what was told
    before. It leaves no trace. No training replaces a revision by one that fails, with the memory alone, a
    question that it passed.

    The exit status is 0 if all were passed, 1 after an error, and 3 if one was not.

    Examples:
        populace model evaluate ada suite.jsonl
        populace model evaluate ada --revision 9b1d2f
        populace suite show ada > suite.jsonl
    """
    with gateway(reply_seconds_max=REPLY_SECONDS_MAX) as client:
        if suite is not None:
            questions = [object_of(question) for question in read_suite(suite)]
            client.request("PUT", model_path(name, "/suite"), json={"questions": questions})
        with shown(f"Asking {name} its questions"):
            result = client.request(
                "POST", model_path(name, "/suite/evaluations"), json={"revision": revision}
            )
        print_json(result) if as_json else _print_result(result)
    raise typer.Exit(0 if result["passed"] == result["total"] else NOT_PASSED)


def show(name: Name, as_json: AsJson = False) -> None:
    """Print the stored questions as a file of them has them.

    Examples:
        populace suite show ada > suite.jsonl
    """
    with gateway() as client:
        stored = client.request("GET", model_path(name, "/suite"))
    print_json(stored) if as_json else _print_lines(stored["questions"])


def rm(name: Name, as_json: AsJson = False) -> None:
    """Remove the stored questions.

    Examples:
        populace suite rm ada
    """
    with gateway() as client:
        body = client.request("DELETE", model_path(name, "/suite"))
    print_json(body) if as_json else out.print(f"[bold]{name}[/] has no suite.")


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

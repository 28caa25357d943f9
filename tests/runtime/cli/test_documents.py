"""The commands that the documents show are those that there are, with their options."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from populace.cli.main import app
from tests.documents import ROOT

SHOWN = re.compile(r"(?:^|`)(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?populace ([^`\n]+)", re.MULTILINE)
"""A command in a block of code or in a line of text, behind variables of its environment."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_commands_that_documents_show_are_there() -> None:
    root = get_command(app)

    shown = [(page.name, line) for page in PAGES for line in SHOWN.findall(page.read_text("utf-8"))]
    assert len(shown) > 100
    assert [f"{page}: populace {line}" for page, line in shown for _ in _missing(root, _words(line))] == []


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a sentence with an apostrophe
        return line.split()


def _missing(command: Any, words: list[str]) -> Iterator[str]:
    """Yield the words that name neither a command of their group nor an option of their command."""
    context = typer.Context(command)
    while isinstance(command, TyperGroup) and words and re.fullmatch(r"[a-z][\w-]*", words[0]):
        found = command.get_command(context, words[0])
        if found is None:
            yield words[0]
            return
        command, words = found, words[1:]
        context = typer.Context(command, parent=context)
    known = {
        name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)
    }
    yield from (word for word in words if re.fullmatch(r"--[a-z][a-z-]+", word) and word not in known)

"""``populace config``: every setting, its value and where that is from; or a file to begin with."""

from typing import Annotated

import typer

from populace.cli.arguments import AsJson, ConfigFile


def config(
    config_file: ConfigFile = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that do not have their default.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a configuration file with every setting and its default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all settings with their values, where each is from, and what it is.

    Examples:
        populace config
        populace config --changed
        populace config --example > populace.toml
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from populace.cli.console import err, named_errors, out, print_json
    from populace.settings import listing
    from populace.settings.settings import Settings

    if example:
        typer.echo(listing.example(), nl=False)
        return
    with named_errors():
        settings, found = Settings.gathered(config_file=config_file)
    rows = [row for row in listing.listed(settings, found) if not (changed and row.origin == listing.DEFAULT)]
    if as_json:
        file = None if found.file is None else str(found.file)
        print_json({"file": file, "settings": [row._asdict() for row in rows]})
        return
    err.print(f"Configuration file: {found.file or 'none'}", highlight=False, markup=False, soft_wrap=True)
    if not rows:
        out.print("All settings have their defaults.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "what it is"):
        table.add_column(heading, overflow="fold", ratio=2 if heading == "what it is" else None)
    for row in rows:
        style = "" if row.origin == listing.DEFAULT else "bold"
        table.add_row(
            row.name, escape(row.value), escape(row.origin), escape(first_sentence(row.text)), style=style
        )
    console = out if out.is_terminal else Console(width=160, emoji=False)
    console.print(table)


def first_sentence(text: str) -> str:
    """Return the first sentence of a description."""
    return text.split(". ", 1)[0].rstrip(".") + "."

"""The ``populace`` command. What there is to type is in ``grammar``."""

import gc
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from typer._completion_shared import _get_shell_name

from populace.cli.commands import NounGroup
from populace.cli.grammar import POPULACE

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
COMPLETION_FLAGS = ("--install-completion", "--show-completion")


def in_checkout() -> bool:
    """Whether this runs in the ``.venv`` of a development checkout, which has the benches beside it."""
    return (Path(sys.prefix).parent / "scripts" / "bench" / "commands").is_dir()


class Populace(NounGroup):
    """All of ``populace``. A development checkout has benches too, which are not listed."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        # A collection amid the imports takes 40 ms and finds nothing; the verb itself has the collector.
        gc.disable()
        try:
            return super().main(*arguments, **options)
        finally:
            gc.enable()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name == "bench" and in_checkout():
            from scripts.bench.commands.main import app as benches

            return typer.main.get_command(benches)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in COMPLETION_FLAGS and (shell := _get_shell_name()) not in SHELLS:
            there_are = f"There is completion for {', '.join(SHELLS[:3])} and PowerShell"
            typer.echo(f"{there_are}, and not for {shell or 'the shell that runs this'}.", err=True)
            raise typer.Exit(1)
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Populace,
    help=POPULACE.summary,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        # Reading the metadata of packages takes longer than printing a help page.
        from importlib.metadata import version as version_of

        typer.echo(f"populace {version_of('populace')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Personal models over one shared base model."""
    del version

"""``populace doctor``: check this machine, and say what to do for each failure."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from populace.cli.arguments import AsJson, ConfigFile

if TYPE_CHECKING:
    from populace.cluster.doctor.checks import Check

MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


def doctor(
    config_file: ConfigFile = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also read all of the store and its adapters, and import vLLM."),
    ] = False,
    mend: Annotated[
        bool,
        typer.Option("--mend", help="With --deep: take damaged adapters from the journal, or its from here."),
    ] = False,
    join: Annotated[
        str | None,
        typer.Option(
            help="Also whether this machine could join the cluster at HOST:PORT.", metavar="HOST:PORT"
        ),
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="With --join: also as a store node.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, engines, base model, port, disks, memory and this machine's part in a cluster.

    Exits with 1 if anything fails.

    Examples:
        populace doctor
        populace doctor --join 10.0.0.1:6379 --store
        populace doctor --deep
    """
    from populace.cluster.doctor.checks import Check
    from populace.cluster.doctor.configuration_check import check_configuration
    from populace.cluster.doctor.doctor import run_checks
    from populace.settings.errors import ConfigFileInvalid, SettingsError
    from populace.settings.settings import Settings

    if store and join is None:
        raise typer.BadParameter("Say with --join which cluster is meant.", param_hint="--store")
    if mend and not deep:
        raise typer.BadParameter("Say --deep as well: only what was read can be mended.", param_hint="--mend")
    checks: list[Check] = []
    try:
        settings, found = Settings.gathered(config_file=config_file)
    except SettingsError as error:
        checks = [Check("settings", "fail", str(error), f"unset {error.variable}, or correct it")]
    except ConfigFileInvalid as error:
        checks = [
            Check("settings", "fail", str(error), f"correct {error.path}; see `populace config --example`")
        ]
    else:
        asked = partial(run_checks, settings, deep=deep, join=join, store=store, mends=mend)
        checks = _collect(
            lambda report: chain([check_configuration(found)], asked(report=report)), quiet=as_json
        )
    if as_json:
        passed = all(check.status != "fail" for check in checks)
        typer.echo(json.dumps({"passed": passed, "checks": [check._asdict() for check in checks]}, indent=2))
    else:
        _print_table(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def _collect(
    checks: "Callable[[Callable[[str, float], None]], Iterator[Check]]", *, quiet: bool
) -> "list[Check]":
    """Run the checks; each of a few takes seconds, so what is done is shown."""
    from rich.console import Console

    collected: list[Check] = []
    with Console(stderr=True, quiet=quiet).status("checking") as status:
        for check in checks(lambda what, share: status.update(f"reading {what}: {share:.0%}")):
            collected.append(check)
            status.update(f"checking (done: {check.name})")
    return collected


def _print_table(checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 1))
    for check in checks:
        table.add_row(MARKS[check.status], check.name, escape(check.detail))
        if check.remedy and check.status != "ok":
            table.add_row("", "", f"[bold]→ {escape(check.remedy)}[/]")
    console = Console()
    console.print(table)
    failed = sum(check.status == "fail" for check in checks)
    warned = sum(check.status == "warn" for check in checks)
    console.print(f"{len(checks)} checks, {failed} failed, {warned} warned")

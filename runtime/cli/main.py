"""The ``populace`` command. Each command's module loads what it needs when it runs."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated

import typer

from populace.cli.adapter import app as adapter_app
from populace.cli.backup import EXAMPLES as BACKUP_EXAMPLES
from populace.cli.backup import backup
from populace.cli.chat import chat
from populace.cli.config import EXAMPLES as CONFIG_EXAMPLES
from populace.cli.config import config
from populace.cli.doctor import doctor
from populace.cli.drain import EXAMPLES as DRAIN_EXAMPLES
from populace.cli.drain import drain
from populace.cli.evaluate import EXAMPLES as EVALUATE_EXAMPLES
from populace.cli.evaluate import evaluate
from populace.cli.join import EXAMPLES as JOIN_EXAMPLES
from populace.cli.join import join
from populace.cli.keys import app as key_app
from populace.cli.logs import EXAMPLES as LOGS_EXAMPLES
from populace.cli.logs import logs
from populace.cli.models import app as model_app
from populace.cli.nodes import EXAMPLES as NODES_EXAMPLES
from populace.cli.nodes import nodes
from populace.cli.population import app as population_app
from populace.cli.reshard import EXAMPLES as RESHARD_EXAMPLES
from populace.cli.reshard import reshard
from populace.cli.restore import EXAMPLES as RESTORE_EXAMPLES
from populace.cli.restore import restore
from populace.cli.serve import EXAMPLES as SERVE_EXAMPLES
from populace.cli.serve import serve
from populace.cli.tenants import app as tenant_app
from populace.cli.trace import EXAMPLES as TRACE_EXAMPLES
from populace.cli.trace import trace
from populace.cli.training import JOBS_EXAMPLES, TRAIN_EXAMPLES, jobs, train

app = typer.Typer(
    help="Personal models over one shared base model: serve them, talk to them, look after them.",
    epilog="Start with `populace serve`, then `populace chat ada` in another terminal.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"populace {version_of('populace')}")
        raise typer.Exit


def in_checkout() -> bool:
    """Whether this runs in the ``.venv`` of a development checkout, which has the benches beside it."""
    return (Path(sys.prefix).parent / "scripts" / "bench" / "commands").is_dir()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Personal models over one shared base model."""
    del version


app.command(epilog=SERVE_EXAMPLES)(serve)
app.command(epilog=JOIN_EXAMPLES)(join)
app.command(epilog=NODES_EXAMPLES)(nodes)
app.command(epilog=DRAIN_EXAMPLES)(drain)
app.command()(chat)
app.command(epilog=TRAIN_EXAMPLES)(train)
app.command(epilog=JOBS_EXAMPLES)(jobs)
app.command(epilog=EVALUATE_EXAMPLES)(evaluate)
app.add_typer(model_app, name="model")
app.add_typer(population_app, name="population")
app.add_typer(adapter_app, name="adapter")
app.add_typer(key_app, name="key")
app.add_typer(tenant_app, name="tenant")
app.command(epilog=BACKUP_EXAMPLES)(backup)
app.command(epilog=RESTORE_EXAMPLES)(restore)
app.command(epilog=RESHARD_EXAMPLES)(reshard)
app.command()(doctor)
app.command(epilog=CONFIG_EXAMPLES)(config)
app.command(epilog=LOGS_EXAMPLES)(logs)
app.command(epilog=TRACE_EXAMPLES)(trace)
if in_checkout():
    from scripts.bench.commands.main import app as bench_app

    app.add_typer(bench_app, name="bench")

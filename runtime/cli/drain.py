"""``populace node drain``: hand the hosts of a store node over to another one."""

from typing import Annotated

import typer

from populace.cli.console import CommandFailed, err, named_errors, stop_at_signals
from populace.settings.settings import Settings


def drain(
    node: Annotated[
        str,
        typer.Argument(help="The store node: its name, its machine's name or address, or its Ray id."),
    ],
    to: Annotated[
        str | None,
        typer.Option(help="The store node to go on. Default: where other hosts are.", metavar="NODE"),
    ] = None,
) -> None:
    """Hand the hosts of a store node over to another one, without loss.

    To be run on a machine of the cluster. No turn begins there any more, those that run
    may end, and then the hosts go on on another store node, from the journal; people's calls
    wait meanwhile, as for a restart. Ctrl-C of `populace node join --store` does the same for its own
    machine.

    Ctrl-C ends it once the step that runs is done. Each host serves on one node or the other then,
    after 15 s at most; the same command moves what is left. A second drain of a node is refused while
    one runs.

    Examples:
        populace node drain 10.0.0.2
        populace node drain gpu-box-3f2a91 --to 10.0.0.3    # as `populace node ls` calls them
    """
    with named_errors():
        settings = Settings.from_environment()
        stop_at_signals()
        from populace.cluster.draining.drain import drain_node
        from populace.cluster.joining.connecting import connected, find_cluster

        try:
            with connected(find_cluster(settings)):
                drain_node(node, _report, to=to)
        except KeyboardInterrupt:
            raise CommandFailed(
                "Stopped. Hosts that were not handed over go on by themselves within some seconds; the same "
                "command moves them."
            ) from None


def _report(step: str) -> None:
    err.print(step, highlight=False, markup=False, soft_wrap=True)

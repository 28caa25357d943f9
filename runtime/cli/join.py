"""``populace node join``: lend this machine to a cluster, for engines, the store or a gateway."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from populace.cli.console import CommandFailed, err, named_errors, stop_at_signals
from populace.settings.settings import Settings

ADDRESS = re.compile(r"(?P<host>[^\s:]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")


def join(
    address: Annotated[
        str,
        typer.Argument(help="The machine that serves, and its cluster port.", metavar="HOST:PORT"),
    ],
    host: Annotated[
        str | None,
        typer.Option(help="Address of this machine for the others. Default: its network's."),
    ] = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Be a store node: hosts go on here when the one that has them is lost."),
    ] = False,
    take_hosts: Annotated[
        bool,
        typer.Option("--take-hosts", help="Take the hosts over at once, without loss; with --store."),
    ] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Run a gateway here, at POPULACE_HOST and POPULACE_PORT.")
    ] = False,
    no_engine: Annotated[bool, typer.Option("--no-engine", help="Run no engine replicas here.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Data directory of a store node; created if it does not exist.")
    ] = None,
) -> None:
    """Run engine replicas on this machine for the Populace at HOST:PORT, until Ctrl-C.

    That one was started with --cluster-port. This machine needs the same
    Populace, Ray and Python, and the cluster's token, a file that is copied from there:
    cluster-token in the configuration directory, or POPULACE_CLUSTER_TOKEN_FILE.

    Replicas start here by themselves, POPULACE_REPLICAS of the machine that serves.
    Ctrl-C lets the replies end that are made here, and leaves nothing behind.

    With --store it has a data directory of its own too, into which the store comes from the journal
    (POPULACE_JOURNAL of the machine that serves); it needs a copy of the master key and
    the variables of the bucket's provider. It stands by until hosts are lost elsewhere, or with
    --take-hosts has them handed over. Ctrl-C hands its hosts over to another store node.

    With --gateway clients reach it here too, at this machine's POPULACE_HOST and POPULACE_PORT,
    or else at those of the machine that serves.

    Examples:
        populace serve --cluster-port 6379    # on the first machine; it says where its token is
        scp first:.config/populace/cluster-token .config/populace/    # once, on this one
        populace node join 10.0.0.1:6379
        POPULACE_CLUSTER_TOKEN_FILE=./token populace node join 10.0.0.1:6379 --host 10.0.0.2
        POPULACE_MASTER_KEY=/safe/master.key populace node join 10.0.0.1:6379 --store --no-engine
        POPULACE_MASTER_KEY=/safe/master.key populace node join 10.0.0.1:6379 --store --take-hosts
        POPULACE_HOST=0.0.0.0 populace node join 10.0.0.1:6379 --gateway --no-engine
    """
    with named_errors():
        match = ADDRESS.fullmatch(address)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise CommandFailed(f"{address!r} is no HOST:PORT such as 10.0.0.1:6379.")
        if no_engine and not (store or gateway):
            reason = "With --no-engine this machine has to take another part: add --store or --gateway."
            raise CommandFailed(reason)
        if take_hosts and not store:
            raise CommandFailed("--take-hosts is for a machine with a store: add --store.")
        settings = Settings.from_environment(cluster_host=host, data=data)
        # Also if the terminal is closed: people's adapters must not stay in this machine's memory.
        stop_at_signals()
        from populace.cluster.draining import drain
        from populace.cluster.joining.connecting import Place
        from populace.cluster.joining.join import Part, join_cluster

        part = Part(engines=not no_engine, store=store, gateway=gateway)
        cluster = Place(address, settings.cluster_token)
        take = partial(drain.take_hosts, cluster) if take_hosts else None
        hand_over = partial(drain.drain_leaving, cluster)
        try:
            join_cluster(address, settings, _report, part=part, take=take, hand_over=hand_over)
        except KeyboardInterrupt:
            err.print("Left the cluster.")


def _report(step: str) -> None:
    err.print(step, highlight=False, markup=False, soft_wrap=True)

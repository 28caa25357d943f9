"""``populace node ls``: the machines of a cluster, and what runs on each."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from populace.cli.arguments import AsJson
from populace.cli.console import counted, named_errors, out, print_json
from populace.settings.settings import Settings

PARTS = ("host", "trainer", "gateway", "replica")


def ls(as_json: AsJson = False) -> None:
    """List the machines of this cluster, and what runs on each.

    To be run on a machine of the cluster, or with POPULACE_RAY_ADDRESS.

    Examples:
        populace node ls
        populace node ls --json | jq -r '.nodes[] | select(.parts.host) | .name'    # to drain one
    """
    with named_errors():
        settings = Settings.from_environment()
        from populace.cluster.joining.connecting import connected, find_cluster
        from populace.cluster.node_parts import cluster_parts

        with connected(find_cluster(settings)):
            found = cluster_parts()
    if as_json:
        print_json({"nodes": [node._asdict() for node in found.nodes], "starting": found.starting})
        return
    table = Table("node", "machine", "may run", "runs")
    for node in found.nodes:
        notes = ["Ray's head"] if node.is_head else []
        notes += ["leaves"] if node.is_leaving else []
        if "store" in node.labels and not node.parts.get("host"):
            notes.append("stands by for the store")
        table.add_row(
            Text(node.name),
            Text(f"{node.machine} ({node.address})" if node.address != node.name else node.machine),
            ", ".join(node.labels),
            ", ".join([*_counts(node.parts), *notes]),
        )
    out.print(table)
    if found.starting:
        out.print(f"Starting, or waiting for a machine: {', '.join(_counts(found.starting))}")


def _counts(parts: Mapping[str, int]) -> list[str]:
    return [counted(parts[part], part) for part in PARTS if parts.get(part)]

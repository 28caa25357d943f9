"""``populace model history``, ``diff``, ``rollback`` and ``rebuild``: the lineage of revisions."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.tree import Tree

from populace.cli.arguments import AsJson, Name
from populace.cli.console import CommandFailed, local_time, named_errors, out, print_json
from populace.cli.gateway_client import connected, gateway, model_path
from populace.cli.training import exit_status, print_ends, watched

if TYPE_CHECKING:
    from populace.actors.merging import LayerDifference


SHOWN = ("learning_rate", "steps", "seed")


def history(name: Name, as_json: AsJson = False) -> None:
    """Draw the lineage of a model's revisions as a tree from the base, with those that were rejected.

    Examples:
        populace model history ada
        populace model history ada --json
    """
    with gateway() as client:
        aliases = client.request("GET", model_path(name))["aliases"]
        found = client.request("GET", model_path(name, "/revisions"))["data"]
    if as_json:
        print_json({"aliases": aliases, "revisions": found})
        return
    out.print(history_tree(name, found, aliases))


def rollback(
    name: Name,
    revision: Annotated[
        str | None,
        typer.Option(
            help="Roll back only if this is the current revision, given by its full digest.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a model back to its revision's parent, or the base; turns learned since count as not learned.

    Examples:
        populace model rollback ada
    """
    with gateway() as client:
        if revision is None and client.request("GET", model_path(name))["aliases"].get("latest") is None:
            raise CommandFailed(f"{name} has no current revision: there is nothing to roll back.")
        body = client.request("POST", model_path(name, "/rollback"), json={"revision": revision})
    if as_json:
        print_json(body)
        return
    serving = body["aliases"].get("latest")
    out.print(f"[bold]{name}[/] answers from {'the base' if serving is None else serving[:12]} now.")


def rebuild(name: Name, as_json: AsJson = False) -> None:
    """Retrain the current revision from the base and the turns and feedback that it learned from.

    On the same base, a revision without a parent comes out bit for bit the same. A model trained on another
    base than the one served now becomes one of this base. The exit status is that of `populace model train`.

    Examples:
        populace model rebuild ada
    """
    with gateway() as client:
        serving = client.request("GET", model_path(name))["aliases"].get("latest")
        if serving is None:
            raise CommandFailed(f"{name} answers from the base: there is nothing to make again.")
        job = client.request("POST", model_path(name, "/jobs"), json={"rebuilds": serving})
        [job] = watched(client, [job])
    if as_json:
        print_json(job)
    else:
        print_ends([job])
        if job["revision"] is not None:
            same = job["revision"] == serving
            out.print("  To the bit what it was." if same else f"  Other bits than {serving[:12]}.")
    raise typer.Exit(exit_status([job]))


def diff(
    name: Name,
    one: Annotated[
        str | None,
        typer.Argument(
            help="A revision: its digest or the beginning of it, an alias, or base.", show_default="latest"
        ),
    ] = None,
    other: Annotated[
        str | None, typer.Argument(help="The revision to compare with.", show_default="its parent")
    ] = None,
    every: Annotated[
        bool, typer.Option("--layers", help="Show every layer instead of each kind of layer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far two revisions of a model are apart: the norms of what they add, and the angles between.

    At an angle of 0 degrees both write into the same direction of a layer's output, at 90 into orthogonal
    ones.

    Examples:
        populace model diff ada
        populace model diff ada latest base
        populace model diff ada 3f2a 9c1d --layers
    """
    with named_errors(), connected() as population:
        found = population.model(name).diff(one, other)
    if as_json:
        print_json([difference._asdict() for difference in found])
        return
    kinds: dict[str, list[LayerDifference]] = {}
    for difference in found:
        kind = difference.module if every else difference.module.rsplit(".", 1)[-1]
        kinds.setdefault(kind, []).append(difference)
    table = Table("layers", "norm", "other's", "distance", "angles", box=None)
    for kind, differences in kinds.items():
        table.add_row(kind, *_difference_cells(differences))
    out.print(table)
    total = _norm([layer.distance for layer in found])
    out.print(f"{len(found)} layers, {total:.4g} apart in all.", highlight=False)


def _difference_cells(found: Sequence["LayerDifference"]) -> tuple[str, ...]:
    """Format the Frobenius norms over all these layers, and the smallest, mean and largest angle."""
    angles = [angle for layer in found for angle in layer.angles]
    told = f"{min(angles):.0f}° {fmean(angles):.0f}° {max(angles):.0f}°" if angles else ""
    norms = (
        [layer.norm for layer in found],
        [layer.other_norm for layer in found],
        [layer.distance for layer in found],
    )
    return (*(f"{_norm(values):.4g}" for values in norms), told)


def _norm(values: Sequence[float]) -> float:
    return math.hypot(*values)


def history_tree(name: str, revisions: Sequence[Mapping[str, Any]], aliases: Mapping[str, str]) -> Tree:
    """Draw the revisions below their parents; those whose parent is not the model's hang on its root."""
    known = {revision["id"] for revision in revisions}
    root = Tree(f"[bold]{name}[/], from the base")
    branches: dict[str, Tree] = {}
    left = list(revisions)
    while left:
        # A parent is older than its children unless a clock jumped; each pass finds at least one.
        ready = [
            revision for revision in left if revision["parent"] not in known or revision["parent"] in branches
        ] or left[:1]
        for revision in ready:
            branch = branches.get(revision["parent"], root)
            branches[revision["id"]] = branch.add(_label(revision, aliases), highlight=False)
        left = [revision for revision in left if revision["id"] not in branches]
    return root


def _label(revision: Mapping[str, Any], aliases: Mapping[str, str]) -> str:
    named = "".join(f" [green]@{alias}[/]" for alias, digest in aliases.items() if digest == revision["id"])
    lineage = revision["lineage"]
    made = f"{revision['method']}, rank {revision['rank']}, {revision['bytes'] / 1e6:.1f} MB"
    lines = [f"[bold]{revision['id'][:12]}[/]{named}  {made}, {local_time(revision['created'])}"]
    lines += [f"[dim]{source['weight']:g} × {source['revision'][:12]}[/]" for source in revision["sources"]]
    if lineage is None:
        return "\n".join(lines)
    hyper = lineage["hyper_parameters"]
    told = ", ".join(f"{key.replace('_', ' ')} {hyper[key]}" for key in SHOWN if key in hyper)
    start, stop = lineage["log_range"]
    lines.append(
        f"[dim]turns {start} to {stop}, {told}, {lineage['tokens']:,} tokens in {lineage['seconds']:.1f} s[/]"
    )
    scores = lineage["scores"]
    if "held_out_loss" in scores:
        lines.append(
            f"[dim]held-out loss {scores['held_out_loss_parent']:.3f} → {scores['held_out_loss']:.3f} "
            f"on {scores['held_out_replies']:.0f} replies, {scores['probe_kl']:.4f} nats from the base[/]"
        )
    if "served_corrections" in scores:
        lines.append(
            f"[dim]as served says {scores['served_corrections_said']:.0f} of "
            f"{scores['served_corrections']:.0f} corrections[/]"
        )
    if "served_asked_again" in scores:
        lines.append(
            f"[dim]as served knows {scores['served_asked_again_known']:.0f} of "
            f"{scores['served_asked_again']:.0f} things asked again, its parent "
            f"{scores['served_asked_again_known_parent']:.0f}[/]"
        )
    if "served_likeness" in scores:
        lines.append(
            f"[dim]as served likeness {scores['served_likeness_parent']:.2f} → "
            f"{scores['served_likeness']:.2f} on {scores['served_replies']:.0f} replies[/]"
        )
    if "held_out_reward" in scores:
        lines.append(
            f"[dim]held-out reward {scores['held_out_reward_parent']:.3f} → {scores['held_out_reward']:.3f} "
            f"on {scores['held_out_tasks']:.0f} tasks, {scores['probe_kl']:.4f} nats from the base[/]"
        )
    if scores.get("corrections"):
        lines.append(
            f"[dim]says {scores['corrections_said']:.0f} of {scores['corrections']:.0f} corrections, "
            f"with {100 * scores['share_kept']:.0f} % of what was trained[/]"
        )
    if "personal_share" in scores:
        lines.append(
            f"[dim]on {str(hyper['on'])[:12]}, with {100 * scores['personal_share']:.0f} % of its own part[/]"
        )
    if "taught_tokens" in scores:
        lines.append(f"[dim]{_room(scores)}[/]")
    if "asked_again" in scores:
        lines.append(
            f"[dim]says {scores['asked_again_said']:.0f} of {scores['asked_again']:.0f} replies to what was "
            f"asked again{_in_other_words(scores)}[/]"
        )
    lines += [f"[yellow]not promoted: {objection}[/]" for objection in lineage["objections"]]
    return "\n".join(lines)


def _room(scores: Mapping[str, float]) -> str:
    """Say how full the adapter is: ``holds about 1,900 of 2,400 tokens, 3 lessons left to retrieval``."""
    held = f"holds about {_about(scores['taught_tokens'])} of {_about(scores['fitting_tokens'])} tokens"
    left = round(scores.get("left_to_retrieval", 0.0))
    return held + (f", {left:,} lesson{'s'[: left != 1]} left to retrieval" if left else "")


def _about(number: float) -> str:
    """Round to two digits, as more would say more than is known."""
    return f"{float(f'{number:.2g}'):,.0f}"


def _in_other_words(scores: Mapping[str, float]) -> str:
    right = scores.get("asked_again_held_out_right")
    return "" if right is None else f", {right:.0f} of {scores['asked_again_held_out']:.0f} in other words"

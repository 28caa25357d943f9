"""``populace population``: asks many models at once, and shows how alike they are."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from populace.actors.aggregation.question import COMBINES, KINDS, SELECTS, Question
from populace.cli.arguments import AsJson
from populace.cli.console import CommandFailed, counted, err, local_time, named_errors, out, print_json
from populace.cli.gateway_client import connected, gateway

if TYPE_CHECKING:
    from populace.actors.aggregation.report import PopulationReport

DEFAULTS = Question(())


def ls(as_json: AsJson = False) -> None:
    """List the models that take part, and how they answer the probes.

    Examples:
        populace population ls --json
    """
    with gateway() as client:
        found = client.request("GET", "/v1/population/members")["data"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("Nobody takes part yet. `populace model share NAME` has one.")
        return
    table = Table("model", "shares", "revision", "right on probes", "since")
    for member in found:
        accuracy = "not profiled yet" if member["accuracy"] is None else f"{member['accuracy']:.0%}"
        table.add_row(
            member["model"], member["sharing"], member["revision"][:12], accuracy, local_time(member["since"])
        )
    out.print(table)


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    k: Annotated[int, typer.Option("-k", help="Number of members that answer.")] = DEFAULTS.k,
    choice: Annotated[list[str] | None, typer.Option(help="A possible answer; give two or more.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help=f"Kind of answer: {', '.join(KINDS)}.", show_default="choice with --choice, else text"
        ),
    ] = None,
    select: Annotated[
        str, typer.Option(help=f"How members are chosen: {', '.join(SELECTS)}.")
    ] = DEFAULTS.select,
    combine: Annotated[
        str, typer.Option(help=f"How votes are combined: {', '.join(COMBINES)}.")
    ] = DEFAULTS.combine,
    model: Annotated[
        list[str] | None, typer.Option(help="A member that answers, instead of -k chosen ones. Repeatable.")
    ] = None,
    seconds_max: Annotated[
        float, typer.Option(help="Seconds after which members without an answer are left out.")
    ] = DEFAULTS.seconds_max,
    seed: Annotated[int, typer.Option(help="Random seed of --select random and of sampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask members of the population, and print their combined answer with each one's vote.

    Examples:
        populace population ask "Which one is in Italy?" --choice Paris --choice Rome --choice Oslo
        populace population ask "What is 3 + 4?" --kind number -k 16 --select best
        populace population ask "What should I cook?" --model ada --model ben --model cyd
    """
    body: dict[str, Any] = {
        "question": question,
        "k": k,
        "choices": choice or [],
        "kind": kind,
        "select": select,
        "combine": combine,
        "models": model,
        "seconds_max": seconds_max,
        "seed": seed,
    }
    with gateway() as client, err.status(f"Asking {counted(len(model or ()) or k, 'member')}"):
        found = client.request("POST", "/v1/population/answers", json=body, timeout=seconds_max + 30)
    if as_json:
        print_json(found)
    else:
        print_answer(found)
    if found["answer"] is None:
        with named_errors():
            raise CommandFailed(f"There is no answer: {found['reason']}.")


def print_answer(found: dict[str, Any]) -> None:
    """Print the votes, the answer, and statistics of the votes."""
    table = Table("member", "revision", "vote", "weight", "seconds")
    for vote in found["votes"]:
        said = vote["answer"]
        told = Text(vote["state"], style="dim") if said is None else Text(said)
        table.add_row(
            vote["model"], vote["revision"][:12], told, f"{vote['weight']:.2f}", f"{vote['seconds']:.1f}"
        )
    out.print(table)
    measures, said = found["measures"], found["answer"]
    voted = f"{measures['voted']} of {len(found['votes'])} voted"
    if said is None:
        out.print(f"{voted}.", highlight=False)
        return
    out.print(said, style="bold", highlight=False, markup=False)
    tie = ", a tie" if found["tie"] else ""
    out.print(
        f"{voted}, {measures['agreement']:.0%} for this{tie}; "
        f"two picked at random disagree {measures['disagreement']:.0%} of the time.",
        highlight=False,
    )


def report(
    svg: Annotated[
        Path | None, typer.Option(help="Draw how similarly the members answer to this SVG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report, on the probes, how alike members answer, how errors correlate, and what more voters gain.

    It reads stored profiles and asks no model.

    Examples:
        populace population report --svg population.svg
    """
    with named_errors(), connected() as population:
        # numpy loads here, for those who want a report.
        from populace.api.population import ReportObject
        from populace.pictures.population import report_picture

        found = population.report()
        if svg is not None:
            svg.write_text(report_picture(found), encoding="utf-8")
    if as_json:
        print_json(ReportObject.of(found).model_dump(mode="json"))
        return
    print_report(found)


def print_report(found: "PopulationReport") -> None:
    """Print the population in a few lines, and the curve of votes."""
    if not found.members:
        out.print("Nobody who takes part has a profile yet; the trainer makes them.")
        return
    out.print(f"{len(found.members)} members in {found.clusters} clusters.", highlight=False)
    if len(found.members) > 1:
        out.print(
            f"Two of them differ in {found.disagreement:.0%} of the probes and are both wrong in "
            f"{found.double_fault:.0%}. Their errors correlate by {found.error_correlation:.2f}, so that "
            f"they are worth {found.effective_members:.1f}.",
            highlight=False,
        )
    title = f"Best single member {found.best:.0%}, mean {found.mean:.0%}"
    table = Table("voters", "right", "95 %", title=title)
    for point in found.curve:
        table.add_row(str(point.k), f"{point.mean:.1%}", f"{point.low:.0%} to {point.high:.0%}")
    out.print(table)
    if found.unprofiled:
        out.print(f"[dim]Not profiled yet: {', '.join(found.unprofiled[:10])}[/]", highlight=False)


def merge(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="The members to merge; each must share texts.")
    ],
    into: Annotated[
        str, typer.Option(help="The model that gets the merged revision; it is created if it does not exist.")
    ],
    method: Annotated[
        str, typer.Option(help="sum (exact), or svd, ties or dare, which are cut to a rank.")
    ] = "sum",
    rank: Annotated[
        int | None,
        typer.Option(help="Rank of the result for svd, ties and dare.", show_default="the members' largest"),
    ] = None,
    density: Annotated[
        float, typer.Option(help="ties, dare: the share of entries that are kept, 0 to 1.")
    ] = 0.5,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of a member; give one for each name, in their order.", show_default="the mean"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="dare: random seed of which entries are dropped.")] = 0,
) -> None:
    """Merge what members' adapters add to the base into a revision of one model.

    Examples:
        populace population merge ada ben --into panel
        populace population merge ada ben --into panel --method svd --rank 8 --weight 2 --weight 1
    """
    if weight and len(weight) != len(names):
        raise typer.BadParameter(f"{len(names)} names have {len(weight)} weights.", param_hint="--weight")
    weights = dict(zip(names, weight, strict=True)) if weight else None
    with named_errors(), err.status("Merging"), connected() as population:
        if method == "linear":
            err.print(
                "[yellow]`linear` mixes one adapter's B with another's A: their sum is made instead.[/]"
            )
        with warnings.catch_warnings(action="ignore"):
            merged = population.merge(
                names, into, weights=weights, method=method, rank=rank, density=density, seed=seed
            )
    kept = "" if merged.kept > 0.9999 else f", which keeps {merged.kept:.1%} of what they add"
    out.print(
        f"[bold]{into}[/] is {merged.revision.digest[:12]} now, of rank {merged.revision.rank}{kept}.",
        highlight=False,
    )

"""``populace model train``, ``jobs`` and ``cancel``: trains models on their logs and feedback."""

import csv
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column, Table

from populace.actors.reward_tasks import pack_tasks
from populace.actors.training_options import OPTIONS, TrainingOptions
from populace.cli.arguments import AsJson, Name
from populace.cli.console import CommandFailed, err, local_time, out, print_json
from populace.cli.gateway_client import GatewayClient, GatewayError, gateway, model_path
from populace.client.progress import training_phase
from populace.learning.on_policy.tasks import read_tasks

# A revision is made again by a command of its own: `populace model rebuild`.
FLAGS = [name for name in OPTIONS if name != "rebuilds"]


def with_training_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``options`` of a command, which is ``TrainingOptions``, by a flag for each."""

    @wraps(command)
    def run(**given: Any) -> None:
        command(options=TrainingOptions(**{name: given.pop(name) for name in FLAGS}), **given)

    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        parameters += map(_flag, FLAGS) if parameter.name == "options" else [parameter]
    described: Any = run
    described.__signature__ = signature(command).replace(
        parameters=[parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _flag(name: str) -> Parameter:
    option, shown = OPTIONS[name], name.replace("_", "-")
    # Without a metavar the choices, which the description names, would take half of the screen's width.
    metavar = f"<{shown}>" if option.choices else None
    flag = typer.Option(
        f"--{shown}", help=option.description, show_default=option.unset or True, metavar=metavar
    )
    annotation = Annotated[option.type, flag]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=option.default, annotation=annotation)


POLL_SECONDS = 0.5
BLOCKS = "▁▂▃▄▅▆▇█"
NOT_PROMOTED = 3
"""The exit status if no training failed, but not every model got a new revision; 2 is wrong usage."""
OPEN = ("waiting", "running", "promoting")
COLORS = {"promoted": "green", "rejected": "yellow", "skipped": "yellow", "failed": "red", "running": "cyan"}


@with_training_flags
def train(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Names of the models to train.", show_default=False),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Train all models that have a turn in their log.")
    ] = False,
    *,
    options: TrainingOptions,
    tasks: Annotated[
        Path | None,
        typer.Option(help='JSON lines of tasks like {"prompt": "What is 3 + 4?", "answer": 7}. Only for rl.'),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Show progress until the trainings end, or return at once."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Train models on their logs and feedback; a revision that is better becomes the current one.

    One turn in eight is held out to judge what was learned from the others. A new revision that is no better
    than the old one, or that got worse on general text, is rejected and kept for inspection.

    A model that is in training already is not trained anew: that training is shown, unless other options are
    asked for.

    The exit status is 0 if every model got a new current revision, 1 after an error or a failed training, and
    3 if a revision was rejected, a training was skipped or cancelled, or there was no model to train. With
    --no-wait it is 0 once the trainings are requested.

    Examples:
        populace model train ada
        populace model train ada ben --method preference --epochs 2
        populace model train --all --no-wait
        populace model train ada --unjudged --rank 16
        populace model train ada --steps 8 --schedule-steps 16
        populace model train ada --steps 8 --schedule-steps 16 --continues    # and so on from there
        populace model train ada --method rl --reward number --tasks sums.jsonl
    """
    with gateway() as client:
        options.check()
        body: dict[str, Any] = asdict(options)
        if tasks is not None:
            body["tasks"] = json.loads(pack_tasks(read_tasks(tasks)))
        asked = [
            _asked(client, name, body, is_only=not every, watches=wait)
            for name in _chosen(client, names, every=every)
        ]
        found = [job for job in asked if job is not None]
        if wait:
            found = watched(client, found)
        print_json(found) if as_json else print_ends(found)
    raise typer.Exit(exit_status(found))


def jobs(
    name: Annotated[
        str | None, typer.Argument(help="List the trainings of this model only.", show_default=False)
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print the loss, or the reward, of each step as CSV.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List trainings, newest first.

    Examples:
        populace model jobs
        populace model jobs ada --csv > losses.csv
    """
    with gateway() as client:
        path = "/v1/jobs" if name is None else model_path(name, "/jobs")
        found = client.request("GET", path)["data"]
        if as_csv:
            _print_csv(found)
        else:
            print_json(found) if as_json else print_jobs(found)


def cancel(name: Name, as_json: AsJson = False) -> None:
    """Cancel the training of a model that has not ended.

    Examples:
        populace model cancel ada
    """
    with gateway() as client:
        job = client.request("DELETE", model_path(name, "/jobs"))
    print_json(job) if as_json else out.print(f"The training of {name} was {job['state']}.")


def _chosen(client: GatewayClient, names: Sequence[str] | None, *, every: bool) -> list[str]:
    if every and names:
        raise CommandFailed("Name models, or say --all.")
    if every:
        return [model["id"] for model in client.pages("/v1/personal-models") if model["log_position"] > 0]
    if not names:
        raise CommandFailed("Name the models to train, or say --all.")
    return list(dict.fromkeys(names))


def _asked(
    client: GatewayClient, name: str, body: dict[str, Any], *, is_only: bool, watches: bool
) -> dict[str, Any] | None:
    """Request a training. A model that is in training already, perhaps by itself, keeps that one.

    It is returned to be watched, if it is what was asked for. Otherwise None of several models, and of an
    only one the error.
    """
    try:
        return client.request("POST", model_path(name, "/jobs"), json=body)
    except GatewayError as error:
        if error.code != "training_under_way":
            raise
        # The newest is the open one, or has ended since.
        newest = next(iter(client.request("GET", model_path(name, "/jobs"))["data"]), None)
        if watches and newest is not None and _is_asked(newest["options"], body):
            err.print(
                f"{name} is in training already: this is its job {newest['number']}, which learns what was "
                "said before it began.",
                highlight=False,
            )
            return newest
        if is_only:
            raise
        err.print(f"{name} is in training already.")
        return None


def _is_asked(options: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether a job has the options that were asked for; what is the default was not."""
    defaults = asdict(TrainingOptions())
    return "tasks" not in body and all(
        value in (defaults[name], options.get(name)) for name, value in body.items()
    )


def watched(client: GatewayClient, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Show the progress of trainings until all have ended. Ctrl-C leaves them running.

    Before the first step of each it is printed how much it learns, and what judges it.
    """
    latest = {job["model"]: job for job in asked}
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=min(30, err.width // 4)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=err, transient=True) as display:
        tasks = {name: display.add_task(name, total=None, told="asked for") for name in latest}
        planned: set[str] = set()
        stepped = {name: (0, time.monotonic()) for name in latest}
        try:
            while any(job["state"] in OPEN for job in latest.values()):
                time.sleep(POLL_SECONDS)
                for name, job in latest.items():
                    if job["state"] in OPEN:
                        latest[name] = job = _again(client, job)
                        total = job["steps"] or None
                        if job["plan"] and name not in planned:
                            planned.add(name)
                            err.print(f"[bold]{name}[/] {job['plan']}.", highlight=False)
                        if job["step"] != stepped[name][0]:
                            stepped[name] = (job["step"], time.monotonic())
                        idle_s = time.monotonic() - stepped[name][1]
                        display.update(
                            tasks[name], completed=job["step"], total=total, told=told(job, idle_s)
                        )
        except KeyboardInterrupt:
            err.print(
                "They go on: `populace model train NAME` watches one again, `populace model jobs` shows how "
                "far, `populace model cancel NAME` ends one."
            )
            raise typer.Exit(130) from None
    return list(latest.values())


def _again(client: GatewayClient, job: dict[str, Any]) -> dict[str, Any]:
    found = client.request("GET", model_path(job["model"], "/jobs"))["data"]
    return next(
        (listed for listed in found if listed["number"] == job["number"]), {**job, "state": "cancelled"}
    )


def told(job: dict[str, Any], idle_s: float) -> str:
    """Name the phase of an open job, and what it measured; ``idle_s`` are the seconds since its last step.

    No time is said to be left: corrections often take fewer steps than there may be, a trainer waits for
    people's turns, and judging takes as long as it takes.
    """
    stepped = job["loss"] is not None
    phase = training_phase(job["state"], has_stepped=stepped, idle_s=idle_s)
    if job["state"] != "running" or not stepped or not job["seconds"]:
        return phase
    measured = f"{_measured(job)} {job[_measured(job)]:.3f}"
    return f"{phase}  {measured}  {job['tokens'] / job['seconds']:.0f} tokens/s"


def print_ends(found: Sequence[dict[str, Any]]) -> None:
    for job in found:
        state = job["state"]
        line = f"[bold]{job['model']}[/]: [{COLORS.get(state, 'dim')}]{state}[/]"
        if job["revision"] is not None:
            line += f", revision {job['revision'][:12]}"
        if job["tokens"]:
            line += f", {job['step']} steps, {job['tokens']:,} tokens in {job['seconds']:.1f} s of training"
        if job["ended"] is not None:
            line += f", {job['ended'] - job['created']} s after it was asked for"
        out.print(line, highlight=False)
        if line_of_losses := spark(job["curve"]):
            first, last = job["curve"][0][1], job["curve"][-1][1]
            out.print(f"  {_measured(job)} {first:.3f} {line_of_losses} {last:.3f}", highlight=False)
        if job["reason"]:
            out.print(f"  {job['reason']}", highlight=False, markup=False)
    if not found:
        out.print("There was no model to train.")


def exit_status(found: Sequence[dict[str, Any]]) -> int:
    """Return 0 if all were promoted or are still open, 1 if one failed, and else ``NOT_PROMOTED``."""
    states = {job["state"] for job in found}
    if "failed" in states:
        return 1
    return 0 if states and states <= {"promoted", *OPEN} else NOT_PROMOTED


def _measured(job: dict[str, Any]) -> str:
    """Name what the job's curve shows."""
    return "loss" if job["reward"] is None else "reward"


def _print_csv(found: Sequence[dict[str, Any]]) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("model", "job", "step", "measure", "value"))
    for job in found:
        rows.writerows(
            (job["model"], job["number"], step, _measured(job), value) for step, value in job["curve"]
        )


def spark(curve: Sequence[Sequence[float]], width: int = 24) -> str:
    """Draw a curve of losses as a line of blocks, from its first step to its last."""
    losses = [loss for _, loss in curve]
    if len(losses) < 2 or max(losses) == min(losses):
        return ""
    chosen = [losses[round(at * (len(losses) - 1) / (width - 1))] for at in range(min(width, len(losses)))]
    if len(losses) <= width:
        chosen = losses
    span = max(chosen) - min(chosen) or 1.0
    return "".join(BLOCKS[round((loss - min(chosen)) / span * (len(BLOCKS) - 1))] for loss in chosen)


def print_jobs(found: Sequence[dict[str, Any]]) -> None:
    if not found:
        out.print("Nobody was trained yet. `populace model train NAME` trains one.")
        return
    measures = ["loss", "reward"] if any(job["reward"] is not None for job in found) else ["loss"]
    table = Table(
        Column("model", no_wrap=True), "no.", "method", "state", "steps", *measures, "tokens", "asked"
    )
    for job in found:
        color = COLORS.get(job["state"], "dim")
        table.add_row(
            job["model"],
            str(job["number"]),
            job["method"],
            f"[{color}]{job['state']}[/]",
            f"{job['step']}/{job['steps']}" if job["steps"] else "",
            *("" if job[measure] is None else f"{job[measure]:.3f}" for measure in measures),
            f"{job['tokens']:,}" if job["tokens"] else "",
            local_time(job["created"]),
        )
    out.print(table)
    for job in found:
        if job["plan"] and job["state"] in OPEN:
            out.print(f"{job['model']} {job['number']} {job['plan']}.", highlight=False, markup=False)
        if job["reason"]:
            out.print(f"{job['model']} {job['number']}: {job['reason']}", highlight=False, markup=False)

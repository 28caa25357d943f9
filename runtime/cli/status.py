"""``populace status`` and ``populace ps``: what is served, and what is going on."""

from typing import Any

from rich.table import Table

from populace.cli.arguments import AsJson
from populace.cli.console import counted, err, out, print_json
from populace.cli.gateway_client import gateway
from populace.cli.models import table_of
from populace.cli.training import OPEN, print_jobs


def status(as_json: AsJson = False) -> None:
    """Show which Populace answers here, and with what; exits with 1 if none does.

    Examples:
        populace status
        POPULACE_ADDRESS=http://host:8000 POPULACE_API_KEY=… populace status
    """
    with gateway() as client:
        body: dict[str, Any] = {"address": client.url, **client.request("GET", "/v1/population")}
        body["open_jobs"] = sum(job["state"] in OPEN for job in client.request("GET", "/v1/jobs")["data"])
    if as_json:
        print_json(body)
        return
    base = body["base"]
    table = Table(show_header=False, box=None)
    table.add_row("address", body["address"])
    table.add_row("console", f"{body['address']}/console")
    table.add_row("version", body["version"])
    table.add_row("tenant", body["tenant"])
    table.add_row("base", f"{base['name']}, {base['context_tokens']:,} tokens of context")
    table.add_row(
        "memory", "none" if base["memory_module"] is None else f"module {base['memory_module'][:12]}"
    )
    table.add_row("trainings", f"{body['open_jobs']} open" if body["open_jobs"] else "none open")
    out.print(table)


def ps(as_json: AsJson = False) -> None:
    """List the models that are active on a host now, and the trainings that have not ended.

    All others are in the store, and become active with their next message.

    Examples:
        populace ps
    """
    with gateway() as client, err.status("Looking"):
        models = [model for model in client.pages("/v1/personal-models") if model["active"]]
        jobs = [job for job in client.request("GET", "/v1/jobs")["data"] if job["state"] in OPEN]
    if as_json:
        print_json({"models": models, "jobs": jobs})
        return
    out.print(table_of(models) if models else "No model is active now.")
    if jobs:
        out.print(f"\n{counted(len(jobs), 'open training')}:")
        print_jobs(jobs)
